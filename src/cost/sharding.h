// How each parameter of a model is cut, by name.
#pragma once

#include <vector>

#include "lower/program.h"
#include "memplan/plan.h"

namespace memplan {

/// A rule for each parameter of the program, in forward order; equal layers share theirs.
std::vector<ShardingRule> sharding_rules(const Job& job, const Program& program);

}  // namespace memplan
