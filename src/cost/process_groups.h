// Which ranks communicate with which: groups as products of axes of the ranks' layout.
#pragma once

#include <string_view>
#include <vector>

#include "memplan/plan.h"
#include "ops/graph.h"

namespace memplan {

/// An axis of the layout: a group's members along it are `stride` ranks apart.
struct GroupAxis {
  std::string_view name;  ///< "tp", "dp", …
  int64_t size = 1, stride = 1;
};

/// The group of rank 0, axes from the inside out. Ranks are laid out tp, cp, dp, pp from the
/// inside; those of experts expert tp, ep, expert dp, pp (Megatron-core, parallel_state.py: order
/// tp-cp-ep-dp-pp). A mesh of fully_shard is laid out the same way.
std::vector<GroupAxis> group_axes(const Strategy& strategy, CommGroup group);

/// Its members.
int64_t group_ranks(const std::vector<GroupAxis>& axes);
/// From its first member to its last: ranks that lie between them count.
int64_t group_span(const std::vector<GroupAxis>& axes);

/// The groups that have more than one member, for reports.
std::vector<ProcessGroup> process_groups(const Job& job);

}  // namespace memplan
