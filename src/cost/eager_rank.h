// The memory of a rank under PyTorch's eager engine, as reports show it.
#pragma once

#include <vector>

#include "cost/device.h"
#include "memplan/plan.h"

namespace memplan {

/// Every GPU holds the same: one rank plan for all of them. DataParallel: GPU 0, then the others.
/// torch.compile: the eager engine's memory, which bounds it from above, and how far below it the
/// job may stay.
std::vector<RankPlan> eager_ranks(const Job& job, const DeviceMemory& outside);

}  // namespace memplan
