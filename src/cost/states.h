// Weights, gradients and optimizer states of one rank: where they live and how they are divided.
#pragma once

#include <vector>

#include "cost/summary.h"
#include "memplan/plan.h"
#include "policy/textbook.h"

namespace memplan {

/// States of one rank that stay all the time, with a line for each part.
struct RankStates {
  States gpu;
  HostMemory host;
  std::vector<LedgerLine> lines;
};

/// `dense`, `expert`: what the rank's blocks hold of a model replica. `weight_versions`: copies of
/// the weights that the schedule keeps (PipeDream's stashing); 1 otherwise.
RankStates rank_states(const GroupSummary& dense, const GroupSummary& expert,
                       int64_t weight_versions, const Job& job);

/// Ranks over which the states of a group are divided: dp·cp, or dp·cp/ep for experts.
int64_t shards(const Strategy& strategy, ParamGroup group);

}  // namespace memplan
