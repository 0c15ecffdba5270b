// The memory of every kind of rank under Megatron-core.
#pragma once

#include <vector>

#include "cost/device.h"
#include "memplan/plan.h"

namespace memplan {

/// One rank plan a pipeline stage. The phase "between steps" is what is allocated after a step.
std::vector<RankPlan> megatron_ranks(const Job& job, const DeviceMemory& outside);

}  // namespace memplan
