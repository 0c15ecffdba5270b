// The memory of a rank under PyTorch's eager engine, as reports show it.
#pragma once

#include "cost/device.h"
#include "memplan/plan.h"

namespace memplan {

/// Every GPU holds the same: one rank plan for all of them.
RankPlan eager_rank(const Job& job, const DeviceMemory& outside);

}  // namespace memplan
