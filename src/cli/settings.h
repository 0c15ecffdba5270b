// The settings of a job: one row each, read from the command line and from request files alike.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "memplan/job.h"

namespace memplan {

/// `eager`: what only PyTorch's frameworks tell apart; `fsdp`: what only fsdp2 does;
/// `deepspeed`: what a ds_config.json says, which other frameworks read over.
enum class SettingGroup : uint8_t {
  hardware,
  parallel,
  batch,
  memory,
  training,
  model,
  eager,
  fsdp,
  deepspeed,
  megatron
};

struct SettingRow {
  std::string_view option;  ///< "--micro-batch"; its key in a request file is "micro_batch"
  std::string_view value;   ///< "N", "NAME"; empty: a flag
  std::string_view help;
  SettingGroup group;
  bool list;  ///< "1,2,4" asks for each
  /// Reads `text` into the job. Throws Error{bad_input} naming `where`.
  void (*apply)(Job& job, std::string_view text, std::string_view where);
};

/// In the order in which they are applied: what refines another setting stands behind it.
std::span<const SettingRow> setting_rows();

/// The row of an option, or nothing.
const SettingRow* find_setting(std::string_view option);

/// "micro_batch" of "--micro-batch", and back.
std::string key_of(std::string_view option);
std::string option_of(std::string_view key);

/// Options whose value in a file no longer counts when `option` is on the command line:
/// "--precision" speaks for "--weight-dtype".
std::vector<std::string_view> replaced_by(std::string_view option);

/// A whole number from `least` up, in digits alone. Throws Error{bad_input} naming `where`.
int64_t parse_count(std::string_view text, std::string_view where, int64_t least = 1);

/// "optimizer", "cpu", "optimizer=cpu,parameters=nvme", "none". A place alone stands for
/// everything that may be there: optimizer states and gradients, and under ZeRO-3 parameters.
Offload parse_offload(std::string_view text, std::string_view where, int zero);

}  // namespace memplan
