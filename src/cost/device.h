// What lies on the device outside the framework's own memory.
#pragma once

#include <vector>

#include "memplan/plan.h"

namespace memplan {

struct DeviceMemory {
  Bytes context, libraries, nccl;
  std::vector<LedgerLine> lines;
};

/// CUDA context and NCCL buffers of one process of this job. Nothing for GPUs that are not CUDA's:
/// Plan::not_modelled names them.
DeviceMemory outside_framework(const Job& job);

/// Largest surplus of reserved over allocated memory among published jobs, in percent: the upper
/// end of the interval where no allocator is simulated.
inline constexpr int64_t kLargestFragmentationPercent = 23;

}  // namespace memplan
