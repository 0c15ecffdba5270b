#include "cost/process_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace memplan {
namespace {

std::string axes_text(const std::vector<GroupAxis>& axes) {
  std::string out;
  for (const GroupAxis& axis : axes)
    out += fmt::format("{}{} {}", out.empty() ? "" : " · ", axis.name, axis.size);
  return out;
}

// The first members, and the last.
std::string members_text(const std::vector<GroupAxis>& axes) {
  constexpr int64_t kShown = 3;
  const int64_t ranks = group_ranks(axes);
  const auto member = [&](int64_t n) {
    int64_t rank = 0;
    for (const GroupAxis& axis : axes) {
      rank += n % axis.size * axis.stride;
      n /= axis.size;
    }
    return rank;
  };
  std::string out;
  for (int64_t n = 0; n < std::min(ranks, kShown); ++n)
    out += fmt::format("{}{}", out.empty() ? "" : ", ", member(n));
  if (ranks > kShown)
    out += fmt::format("{} {}", ranks > kShown + 1 ? ", …" : ",", member(ranks - 1));
  return out;
}

}  // namespace

std::vector<GroupAxis> group_axes(const Strategy& s, CommGroup group) {
  const int64_t expert_tp = s.megatron.expert_tp > 0 ? s.megatron.expert_tp : s.tp;
  const int64_t replica = product({s.tp, s.cp, s.dp});
  const GroupAxis tp{"tp", s.tp, 1}, cp{"cp", s.cp, s.tp}, dp{"dp", s.dp, checked_mul(s.tp, s.cp)},
      pp{"pp", s.pp, replica}, ep{"ep", s.ep, expert_tp},
      expert_dp{"expert dp", replica / checked_mul(expert_tp, s.ep), checked_mul(expert_tp, s.ep)};
  std::vector<GroupAxis> out;
  switch (group) {
    case CommGroup::tensor_parallel:
      out = {tp};
      break;
    case CommGroup::context_parallel:
      out = {cp};
      break;
    case CommGroup::data_parallel:
      out = {cp, dp};
      if (const int64_t copies = s.fsdp.replicas; copies > 1)  // the mesh of HSDP
        out = {{"shard", s.dp / copies, 1}, {"replicate", copies, s.dp / copies}};
      break;
    case CommGroup::expert_parallel:
      out = {ep};
      break;
    case CommGroup::expert_data_parallel:
      out = {expert_dp};
      break;
    case CommGroup::pipeline_parallel:
      out = {pp};
      break;
    case CommGroup::embedding:  // the first and the last stage
      out = {{"pp", std::min<int64_t>(s.pp, 2), checked_mul(replica, s.pp - 1)}};
      break;
  }
  std::erase_if(out, [](const GroupAxis& axis) { return axis.size == 1; });
  return out;
}

int64_t group_ranks(const std::vector<GroupAxis>& axes) {
  int64_t out = 1;
  for (const GroupAxis& axis : axes) out = checked_mul(out, axis.size);
  return out;
}

int64_t group_span(const std::vector<GroupAxis>& axes) {
  int64_t out = 1;
  for (const GroupAxis& axis : axes)
    out = checked_add(out, checked_mul(axis.size - 1, axis.stride));
  return out;
}

std::vector<ProcessGroup> process_groups(const Job& job) {
  using enum CommGroup;
  std::vector<ProcessGroup> out;
  for (const CommGroup group : {tensor_parallel, context_parallel, expert_parallel, data_parallel,
                                expert_data_parallel, pipeline_parallel}) {
    if (group == expert_data_parallel && job.strategy.ep == 1) continue;
    const std::vector<GroupAxis> axes = group_axes(job.strategy, group);
    if (axes.empty()) continue;
    out.push_back({std::string(to_string(group)), axes_text(axes), members_text(axes),
                   group_ranks(axes), group_span(axes) > job.cluster.gpus_per_node});
  }
  return out;
}

}  // namespace memplan
