// Configurations that training programs read, as settings of memplan.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace memplan {

/// A setting that a file says in memplan's words.
struct FileSetting {
  std::string option;  ///< "--zero"
  std::string text;    ///< "3"
  std::string where;   ///< "ds_config.json: /zero_optimization/stage"
};

/// A DeepSpeed configuration: batch, precision, ZeRO stage and offload, optimizer. What is "auto"
/// is left to options and defaults, as accelerate leaves it to the Trainer's arguments; what
/// changes speed alone is known and passed over. Throws Error{bad_input} with JSON pointer for
/// unknown keys (with the nearest), wrong values and settings that exclude each other;
/// Error{not_modelled} for ZeRO++, MiCS and others by name.
std::vector<FileSetting> read_deepspeed_config(const std::string& path);
std::vector<FileSetting> parse_deepspeed_config(std::string_view text, const std::string& file);

/// A configuration of accelerate in JSON whose distributed_type is FSDP. Throws as above.
std::vector<FileSetting> read_fsdp_config(const std::string& path);
std::vector<FileSetting> parse_fsdp_config(std::string_view text, const std::string& file);

}  // namespace memplan
