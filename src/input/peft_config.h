// PEFT: adapter_config.json and the option --peft -> PeftSpec.
#pragma once

#include <string>
#include <string_view>

#include "input/json.h"
#include "memplan/strategy.h"

namespace memplan {

/// Reads an adapter_config.json, or the folder that holds one, as peft 0.21 does: absent fields
/// take the method's defaults. Absent target_modules leave PeftSpec::targets empty: peft then
/// chooses by model, see fill_default_targets(). Throws Error{bad_input} with file and JSON
/// pointer; Error{not_modelled} naming the PEFT method or the option that PeftSpec cannot express.
PeftSpec read_peft_config(const std::string& path);

/// The same from the text of the file.
PeftSpec parse_peft_config(std::string_view text, const std::string& file);

/// The same from the arguments of one method's config, which name no method themselves: "LORA",
/// "ADALORA"… as in PeftType. `named`: what named it, for messages.
PeftSpec read_peft_method(const JsonNode& config, std::string_view method, const JsonNode& named);

/// The value of one of a method's own settings, as adapter_config.json has it. Null changes
/// nothing.
void read_peft_setting(const JsonNode& node, const PeftSetting& row, PeftSpec& peft);

/// Reads KIND[:key=value,…], the form of --peft:
///   none
///   lora[:r=8,alpha=16,dropout=0.1,targets=q_proj+v_proj,rank.q_proj=16,save=lm_head,merged]
///     (targets: module-name endings joined by '+', or all-linear)
///   houlsby[:m=64]   pfeiffer[:m=64]   lin[:m=64]   adapter-drop[:m=64,drop=5]
///   vera[:r=256,targets=…] and peft's other methods: r, alpha, dropout, targets, exclude, layers,
///     layers_pattern, save and bias as far as the method has them, and its own PeftSettings by
///     their names in adapter_config.json; "version" is that of peft itself
/// A word that ends in ".json" or holds a '/' is read as a file. Throws Error{bad_input} naming
/// `where`, with the nearest kind or key.
PeftSpec parse_peft(std::string_view text, std::string_view where = "--peft");

/// Sets targets (and IA3's feedforward) as peft does in a model of this family where they are not
/// given. Returns whether it did. Throws Error{bad_input} naming `where` for a family peft has no
/// choice for.
bool fill_default_targets(PeftSpec& peft, std::string_view family,
                          std::string_view where = "--peft");

/// Adds to modules_to_save the heads that peft trains along for this task ("SEQ_CLS";
/// peft_model.py, PeftModelFor…Classification).
void add_task_modules(std::string_view task, PeftSpec& peft);

/// Throws Error{bad_input} at `where` unless `target` can name a module ("q_proj", "mlp.fc1").
void check_module_name(std::string_view target, std::string_view where);

}  // namespace memplan
