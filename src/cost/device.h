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

/// Upper end of the interval where no allocator is simulated: the largest surplus of peak reserved
/// over peak active memory found in published measurements, in percent, rounded up: 22.73 and 31.02
/// GiB (pytorch/torchtitan pull request 165, FSDP2 with full recomputation). Most lie between 3
/// and 9.
inline constexpr int64_t kLargestFragmentationPercent = 37;

}  // namespace memplan
