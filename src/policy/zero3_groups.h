// ZeRO-3's partitions, the groups of them that are stepped together, and what a step converts.
// Source: deepspeed/runtime/zero/stage3.py, 0.19.8.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "memplan/job.h"
#include "policy/optimizer_step.h"

namespace memplan::deepspeed {

/// Elements of a rank's partition: each parameter is padded to a multiple of the ranks.
int64_t partition_of(int64_t elements, int64_t world);

/// Trained parameters that are stepped together: partitions' elements, in order.
using SubGroup = std::vector<int64_t>;

/// _create_fp16_sub_groups: a group is full once it has `sub_group_size` elements.
std::vector<SubGroup> sub_groups(const std::vector<int64_t>& partitions, int64_t sub_group_size);
int64_t elements_of(const SubGroup& group);

/// The optimizer's own peak on what it is shown.
using InnerStep = std::function<StepPeak(std::span<const StepParam>)>;

/// Highest moment of DeepSpeedZeroOptimizer_Stage3.step above what lives when it begins.
/// `gathered`: bytes of whole parameters that then live; `persistent`: of those that it gathers
/// when it ends.
StepPeak zero3_step(const std::vector<SubGroup>& groups, const Strategy& strategy, int64_t gathered,
                    int64_t persistent, const InnerStep& inner);

}  // namespace memplan::deepspeed
