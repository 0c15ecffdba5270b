#include "cost/sharding.h"

#include <doctest/doctest.h>

#include "cost/process_groups.h"
#include "jobs.h"

namespace memplan {
namespace {

using enum CommGroup;

// tp 2 · cp 2 · dp 4 · pp 3, experts over 4 of the 16 GPUs of a stage.
Strategy strategy() {
  Strategy s;
  s.tp = 2;
  s.cp = 2;
  s.dp = 4;
  s.pp = 3;
  s.ep = 4;
  return s;
}

TEST_CASE("groups are products of axes of the layout") {
  const Strategy s = strategy();
  const auto members = [&](CommGroup group) { return group_ranks(group_axes(s, group)); };
  const auto span = [&](CommGroup group) { return group_span(group_axes(s, group)); };
  CHECK(members(tensor_parallel) == 2);
  CHECK(span(tensor_parallel) == 2);
  CHECK(members(context_parallel) == 2);  // 0, 2
  CHECK(span(context_parallel) == 3);
  CHECK(members(data_parallel) == 8);  // 0, 2, … 14
  CHECK(span(data_parallel) == 15);
  CHECK(members(expert_parallel) == 4);  // 0, 2, 4, 6
  CHECK(span(expert_parallel) == 7);
  CHECK(members(expert_data_parallel) == 2);  // 0, 8
  CHECK(span(expert_data_parallel) == 9);
  CHECK(members(pipeline_parallel) == 3);  // 0, 16, 32
  CHECK(span(pipeline_parallel) == 33);
  CHECK(members(embedding) == 2);  // 0, 32
  CHECK(span(embedding) == 33);
}

TEST_CASE("every rank of a stage is in one place: a group times its complement is the stage") {
  const Strategy s = strategy();
  for (const auto& [a, b] : {std::pair{tensor_parallel, data_parallel}})
    CHECK(group_ranks(group_axes(s, a)) * group_ranks(group_axes(s, b)) == 16);
  CHECK(2 * group_ranks(group_axes(s, expert_parallel)) *
            group_ranks(group_axes(s, expert_data_parallel)) ==
        16);
}

TEST_CASE("groups are told by axes and members") {
  Job job = small_job();
  job.strategy = strategy();
  job.cluster.gpus_per_node = 8;
  const std::vector<ProcessGroup> groups = process_groups(job);
  REQUIRE(groups.size() == 6);
  CHECK(groups[3].name == "data_parallel");
  CHECK(groups[3].axes == "cp 2 · dp 4");
  CHECK(groups[3].members == "0, 2, 4, … 14");
  CHECK(groups[3].crosses_nodes);
  CHECK(groups[2].members == "0, 2, 4, 6");
  CHECK_FALSE(groups[2].crosses_nodes);
}

TEST_CASE("a rule for each parameter, equal layers together") {
  Job job = small_moe(8, 2);  // four experts
  job = on(job, 8, 2);
  const std::vector<ShardingRule> rules = sharding_rules(job, lower(job, 1));
  const auto rule = [&](std::string_view name) {
    for (const ShardingRule& r : rules)
      if (r.tensor == name) return r;
    FAIL("no rule for ", name);
    return ShardingRule();
  };
  const ShardingRule q = rule("model.layers.*.self_attn.q_proj.weight");
  CHECK(q.times == 4);
  CHECK(q.shape == std::vector<int64_t>{64, 64});
  CHECK(q.local == std::vector<int64_t>{32, 64});
  CHECK(q.rule == "dim 0 over tp 2");
  CHECK(q.group == "data_parallel");
  const ShardingRule down = rule("model.layers.*.mlp.experts.down_proj");
  CHECK(down.local == std::vector<int64_t>{2, 64, 64});
  CHECK(down.rule == "experts over ep 2, dim 2 over tp 2");
  CHECK(down.group == "expert_data_parallel");
  CHECK(rule("model.norm.weight").rule == "whole");
  // What the rules leave on a GPU is what the engine counts there.
  int64_t elements = 0;
  for (const ShardingRule& r : rules) {
    int64_t one = 1;
    for (int64_t n : r.local) one *= n;
    elements += one * r.times;
  }
  CHECK(elements == predict(job).ranks.front().states.parameters);
}

}  // namespace
}  // namespace memplan
