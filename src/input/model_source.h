// MODEL of the command line: a preset, a file, a folder or a bare size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "memplan/model.h"

namespace memplan {

/// Reads what a user calls a model. In this order:
///   a preset's name ("llama3-8b"; case and '_' for '-' do not matter),
///   a bare size ("7.5B", "124M"): ModelSpec::bare_parameters,
///   a HuggingFace config.json, or a folder that holds one.
/// A word with a path separator is always a file or folder: "./7B" is no size, "./gpt2" no preset.
/// Throws Error{bad_input} where it is none of them, with the nearest preset; and whatever
/// read_hf_config throws.
ModelSpec read_model(const std::string& word);

/// "7.5B", "124M", "1T", "350k": a number with a unit of K, M, B or T (10^3, 10^6, 10^9, 10^12).
/// Nothing where the text has another form. Throws Error{bad_input} where it has that form but the
/// number is zero, not whole, or above 10^15.
std::optional<int64_t> parse_bare_size(std::string_view text);

}  // namespace memplan
