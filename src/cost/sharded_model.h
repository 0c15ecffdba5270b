// The groups in which fully_shard puts a model's parameters.
#pragma once

#include "cost/sharded_step.h"
#include "cost/walked_model.h"
#include "policy/optimizer_step.h"

namespace memplan {

/// Parameter i of a block, before it is cut.
fsdp2::Parameter whole_parameter(const Job& job, const Walked& block, size_t i);

/// The same as the optimizer sees it: a rank's share where it is cut.
StepParam stepped_parameter(const Job& job, const Walked& block, size_t i);

/// Group 0 of what is in no layer, then one for each layer of the walk: a layer's group has the
/// index of its block. Where fsdp2::groups_ends, norm and head have that of theirs, and the
/// embedding the one behind it. Weights packed in integers are in none (accelerate 1.15,
/// fsdp2_prepare_model: ignored_params).
void add_groups(const Job& job, const WalkedModel& model, ShardedStep& step);

}  // namespace memplan
