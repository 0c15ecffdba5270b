// Settings of particular frameworks: PyTorch's eager engine, FSDP, DeepSpeed, Megatron-core.
#pragma once

#include <span>

#include "cli/settings.h"

namespace memplan {

std::span<const SettingRow> framework_setting_rows();

}  // namespace memplan
