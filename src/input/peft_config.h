// PEFT: adapter_config.json and the option --peft -> PeftSpec.
#pragma once

#include <string>
#include <string_view>

#include "input/json.h"
#include "memplan/strategy.h"

namespace memplan {

/// Reads an adapter_config.json, or the folder that holds one, as peft 0.21 does: absent fields
/// take LoraConfig's defaults (r 8, lora_alpha 8). Absent target_modules leave PeftSpec::targets
/// empty: peft then chooses by model, see default_lora_targets(). Throws Error{bad_input} with file
/// and JSON pointer; Error{not_modelled} naming the PEFT method or the option of LoRA that PeftSpec
/// cannot express.
PeftSpec read_peft_config(const std::string& path);

/// The same from the text of the file.
PeftSpec parse_peft_config(std::string_view text, const std::string& file);

/// The same from the arguments of one method's config, which name no method themselves: "LORA",
/// "ADALORA"… as in PeftType. `named`: what named it, for messages.
PeftSpec read_peft_method(const JsonNode& config, std::string_view method, const JsonNode& named);

/// Reads KIND[:key=value,…], the form of --peft:
///   none
///   lora[:r=8,alpha=16,dropout=0.1,targets=q_proj+v_proj,rank.q_proj=16,save=lm_head,merged]
///     (targets: module-name endings joined by '+', or all-linear)
///   houlsby[:m=64]   pfeiffer[:m=64]   lin[:m=64]   adapter-drop[:m=64,drop=5]
/// A word that ends in ".json" or holds a '/' is read as a file. Throws Error{bad_input} naming
/// `where`, with the nearest kind or key.
PeftSpec parse_peft(std::string_view text, std::string_view where = "--peft");

/// What peft adapts in a model of this family where target_modules is not given. Throws
/// Error{bad_input} naming `where` for a family peft has no choice for.
std::vector<std::string> default_lora_targets(std::string_view family,
                                              std::string_view where = "--peft");

/// Throws Error{bad_input} at `where` unless `target` can name a module ("q_proj", "mlp.fc1").
void check_module_name(std::string_view target, std::string_view where);

}  // namespace memplan
