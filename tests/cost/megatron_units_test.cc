#include "cost/megatron_units.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "memplan/fit.h"

namespace memplan {
namespace {

// Four layers of width 256 before a vocabulary large enough for the loss to be the highest moment.
Job small_gpt(bool fsdp) {
  Job job;
  ModelSpec& m = job.model;
  m.family = "megatron_gpt";
  m.implementation = Implementation::megatron;
  m.hidden = 256;
  m.layers = 4;
  m.heads = m.kv_heads = 4;
  m.head_dim = 64;
  m.ffn = 1024;
  m.vocab = 50304;
  m.max_positions = 1024;
  m.tie_embeddings = true;
  m.activation = "gelu";
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  s.dp = 4;
  s.zero = fsdp ? 3 : 1;
  s.micro_batch = 4;
  s.sequence = 1024;
  s.global_batch = 16;
  s.optimizer = OptimizerKind::adam;
  s.precision = parse_precision("mixed-bf16", "test");
  s.precision.gradient = DType::f32;
  s.megatron.gradient_accumulation_fusion = false;
  s.megatron.fsdp = fsdp;
  s.megatron.log_params_norm = fsdp;
  job.cluster.gpu = find_gpu("h100-80g", "test");
  job.cluster.gpus = 4;
  job.cluster.gpus_per_node = 8;
  return job;
}

Bytes allocated(const RankPlan& rank, std::string_view phase) {
  const auto at = std::ranges::find(rank.phases, phase, &PhasePeak::phase);
  REQUIRE(at != rank.phases.end());
  return at->allocated;
}

// Above what stays between steps.
Bytes above(const Job& job, std::string_view phase) {
  const RankPlan rank = predict(job).ranks.front();
  return allocated(rank, phase) - allocated(rank, "between steps");
}

// A layer's 12·256² weights and 4·256 of norms are 769 rows of 1024, the widest: 772 for 4 ranks.
// Outside of layers, 50304 + 1024 + 2 rows of 256: 51332.
constexpr int64_t kLayer = 772 * 1024 * 2;
constexpr int64_t kRoot = 51332 * 256 * 2;

TEST_CASE("the final norm gathers all layers again, and the loss finds them there") {
  const Bytes plain = above(small_gpt(false), "forward");
  CHECK(above(small_gpt(true), "forward") - plain == Bytes(kRoot + 4 * kLayer));
}

// One element ahead is one bucket: behind the final norm's that of the first layer.
TEST_CASE("a small communication unit gathers one bucket ahead") {
  Job job = small_gpt(true);
  job.strategy.megatron.communication_unit = 2;
  const Bytes plain = above(small_gpt(false), "forward");
  CHECK(above(job, "forward") - plain == Bytes(kRoot + kLayer));
}

TEST_CASE("between steps all is whole where nothing stops the gathering") {
  Job job = small_gpt(true);
  const Bytes logs = allocated(predict(job).ranks.front(), "between steps");
  job.strategy.megatron.log_params_norm = false;
  const Bytes all = allocated(predict(job).ranks.front(), "between steps");
  CHECK(all - logs == Bytes(kRoot + 4 * kLayer));
}

TEST_CASE("evaluation does not gather what is whole already") {
  Job job = small_gpt(true);
  const Bytes logs = allocated(predict(job).ranks.front(), "evaluation");
  job.strategy.megatron.arguments.clear();
  CHECK(allocated(predict(job).ranks.front(), "evaluation") == logs);
}

TEST_CASE("states of a rank") {
  const RankPlan rank = predict(small_gpt(true)).ranks.front();
  constexpr int64_t shard = (kRoot + 4 * kLayer) / 2 / 4;
  CHECK(rank.states.weights == Bytes(2 * shard));
  CHECK(rank.states.gradients == Bytes(4 * shard));
  CHECK(rank.states.optimizer == Bytes(12 * shard));
}

}  // namespace
}  // namespace memplan
