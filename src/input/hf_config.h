// HuggingFace config.json -> ModelSpec.
#pragma once

#include <string>
#include <string_view>

#include "input/json.h"
#include "memplan/model.h"

namespace memplan {

struct HfFamily;

/// Reads a model's config.json as transformers 5.12.1 does: fields left out take the family's
/// defaults, unknown keys are ignored, the language part of a multimodal config is read and its
/// other parts are named in ModelSpec::not_modelled. Sizes are exact; nothing is guessed. `file`
/// names the text in messages and becomes ModelSpec::name. Throws Error{bad_input} with file and
/// JSON pointer where the text is no such config, a value is of the wrong type or out of range,
/// fields contradict each other, or a key looks misspelled; Error{not_modelled} for a head class or
/// a layer type that memplan does not have.
ModelSpec read_hf_config(std::string_view text, const std::string& file);

/// The same of a config that stands inside another document; `name` becomes ModelSpec::name.
ModelSpec read_hf_config(const JsonNode& root, const std::string& name);

/// Reads all fields of one family. `defaults_known`: absent sizes may take the family's defaults.
/// Fills everything but name and head; ModelSpec::source lists the sizes that are defaults.
/// (hf_fields.cc)
ModelSpec read_hf_fields(const HfFamily& family, const JsonNode& config, bool defaults_known);

/// What the file is, where it is not a model's config: "a PEFT adapter_config.json", and the option
/// that reads it; empty where nothing is recognised. (hf_foreign.cc)
struct ForeignFile {
  std::string_view what, advice;
};
ForeignFile recognise_foreign(const JsonNode& root);

}  // namespace memplan
