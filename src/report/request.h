// A job as a flat list of settings: what reports repeat and `--request` reads back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "memplan/job.h"

namespace memplan {

using SettingValue = std::variant<std::monostate, bool, int64_t, double, std::string>;

struct Setting {
  std::string_view key;  ///< the option's name with '_' for '-': "micro_batch" of --micro-batch
  SettingValue value;    ///< monostate: not set, and nothing is assumed
};

/// Every setting of the job but the model and the PEFT method, which are no single value. What
/// PyTorch jobs alone are told apart by is left out where the framework is another.
std::vector<Setting> settings_of(const Job& job);

/// "true", "8", "h100-80g"; "-" where nothing is set.
std::string setting_text(const SettingValue& value);

/// "optimizer=cpu,gradients=cpu", "none".
std::string offload_text(const Offload& offload);
/// FSDP2's reshard_after_forward: "true", "false", "8", "auto".
std::string reshard_text(const Fsdp& fsdp);
/// "all", "last:2", "bias".
std::string train_text(const Trainable& trainable);
/// "nf4-dq", "none".
std::string quantization_text(const Quantization& quantization);
/// "2.14.1".
std::string version_text(const Version& version);
/// "lora r 8", "houlsby m 64", "none": for people.
std::string peft_text(const PeftSpec& peft);

}  // namespace memplan
