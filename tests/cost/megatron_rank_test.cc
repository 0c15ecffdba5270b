#include "cost/megatron_rank.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "memplan/error.h"
#include "memplan/fit.h"

namespace memplan {
namespace {

Bytes allocated(const RankPlan& rank, std::string_view phase) {
  const auto at = std::ranges::find(rank.phases, phase, &PhasePeak::phase);
  REQUIRE(at != rank.phases.end());
  return at->allocated;
}

// GPT-3 of 175 billion parameters, TP 8, PP 8, DP 8 with the distributed optimizer, sequence
// parallelism, core attention recomputed; local layers with dropout.
Job gpt3_175b() {
  Job job;
  ModelSpec& m = job.model;
  m.family = "megatron_gpt";
  m.implementation = Implementation::megatron;
  m.hidden = 12288;
  m.layers = 96;
  m.heads = m.kv_heads = 96;
  m.head_dim = 128;
  m.ffn = 4 * 12288;
  m.vocab = 50257;
  m.max_positions = 2048;
  m.tie_embeddings = m.attention_bias = m.attention_out_bias = m.mlp_bias = true;
  m.activation = "gelu";
  m.dropout.hidden = m.dropout.attention = m.dropout.embedding = 0.1;
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  s.tp = s.pp = s.dp = 8;
  s.zero = 1;
  s.sequence_parallel = true;
  s.recompute = Recompute::selective;
  s.sequence = 2048;
  s.global_batch = 64 * 8;
  s.optimizer = OptimizerKind::adam;
  s.precision = parse_precision("mixed-bf16", "test");
  s.precision.gradient = DType::f32;
  s.megatron.local = true;
  job.cluster.gpu = find_gpu("a100-80g", "test");
  job.cluster.gpus = 512;
  job.cluster.gpus_per_node = 8;
  return job;
}

constexpr double kGiB = 0x1p30;
double gib(Bytes b) { return static_cast<double>(b.count()) / kGiB; }

// Of a rank of the first stage: 12 layers of 12h²/8 and, not divided by 8, 2 biases and 2 norms of
// h and 2h; divided, biases of 3h and 4h. 51200/8 rows of words, 2048 of positions.
TEST_CASE("GPT-3 175B, first stage: states") {
  const RankPlan rank = predict(gpt3_175b()).ranks.front();
  constexpr int64_t h = 12288;
  constexpr int64_t layer = 12 * h * h / 8 + 2 * h + 2 * 2 * h + 7 * h / 8;
  constexpr int64_t all = 12 * layer + 51200 / 8 * h + 2048 * h;
  CHECK(rank.states.parameters == all);
  CHECK(rank.states.weights == Bytes(2 * all));
  CHECK(rank.states.gradients == Bytes(4 * all));
  CHECK(rank.states.optimizer == Bytes(12 * all / 8));
  CHECK(gib(rank.states.weights) == doctest::Approx(5.26).epsilon(0.005));
  CHECK(gib(rank.states.gradients) == doctest::Approx(10.52).epsilon(0.005));
  CHECK(gib(rank.states.optimizer) == doctest::Approx(3.94).epsilon(0.005));
}

// 8 micro-batches in flight, 12 layers of 34·s·b·h/t bytes (Korthikanti et al., arXiv 2205.05198,
// table 2).
TEST_CASE("GPT-3 175B, first stage: activations") {
  const RankPlan rank = predict(gpt3_175b()).ranks.front();
  constexpr double sbh = 2048.0 * 12288;
  const double expected = 8 * 12 * 34 * sbh / 8;
  CHECK(expected / kGiB == doctest::Approx(9.56).epsilon(0.005));
  CHECK(static_cast<double>(rank.memory.activations.count()) ==
        doctest::Approx(expected).epsilon(0.005));
}

TEST_CASE("later stages hold fewer micro-batches") {
  const Plan plan = predict(gpt3_175b());
  REQUIRE(plan.ranks.size() == 8);
  for (size_t i = 1; i + 1 < 8; ++i)
    CHECK(plan.ranks[i].memory.activations < plan.ranks[i - 1].memory.activations);
  // Layers of 12h² + 13h, words, positions and the final norm.
  constexpr int64_t h = 12288;
  CHECK(plan.parameters == 96 * (12 * h * h + 13 * h) + (50257 + 2048) * h + 2 * h);
}

// A module keeps the last tensor it received, and its gradient.
TEST_CASE("between steps a stage holds what it received last") {
  const Plan plan = predict(gpt3_175b());
  constexpr int64_t sbh2 = int64_t{2} * 2048 * 12288 / 8;
  const auto held = [&](size_t stage) {
    const RankPlan& r = plan.ranks[stage];
    return allocated(r, "between steps") - r.states.weights - r.states.gradients -
           r.states.optimizer - r.memory.buffers;
  };
  CHECK(held(0) == Bytes(0));
  CHECK(held(1) == Bytes(2 * sbh2));
}

// Interleaved, the next activation and the next gradient are received while a task runs.
TEST_CASE("overlapping messages hold two tensors more") {
  Job job = gpt3_175b();
  job.strategy.vpp = 2;
  const Bytes with = predict(job).ranks[1].memory.allocated;
  job.strategy.megatron.overlap_p2p = false;
  const Bytes without = predict(job).ranks[1].memory.allocated;
  CHECK((with - without).count() == 2 * int64_t{2} * 2048 * 12288 / 8);
}

TEST_CASE("lines add up to what is allocated, on every rank") {
  for (const RankPlan& rank : predict(gpt3_175b()).ranks) {
    Bytes sum;
    for (const LedgerLine& line : rank.lines) sum += line.bytes;
    CHECK(sum == rank.memory.allocated);
  }
}

TEST_CASE("recomputing all keeps the inputs of layers alone") {
  Job job = gpt3_175b();
  job.strategy.recompute = Recompute::full;
  const Bytes one = predict(job).ranks[1].memory.activations;
  // 7 micro-batches of 12 inputs; the layer that is made again is transient.
  constexpr int64_t sbh = int64_t{2048} * 12288;
  CHECK(one == Bytes(7 * 12 * 2 * sbh / 8));
  job.strategy.megatron.recompute_block = true;
  job.strategy.megatron.recompute_layers = 3;
  CHECK(predict(job).ranks[1].memory.activations > one);  // 3 of 12 layers
}

// A layer costs the same whether its equals are walked once or each by itself: 11 and 12 layers
// differ by as much as 12 and 13.
TEST_CASE("memory is linear in layers") {
  const auto kept = [](int64_t layers) {
    Job job = gpt3_175b();
    job.strategy.pp = 1;
    job.strategy.global_batch = 8;
    job.cluster.gpus = 64;
    job.model.layers = layers;
    return predict(job).ranks[0].memory.activations;
  };
  CHECK(kept(13) - kept(12) == kept(12) - kept(11));
  CHECK(kept(12) - kept(11) == kept(3) - kept(2));
}

TEST_CASE("experts: sharded over their own ranks") {
  Job job = gpt3_175b();
  ModelSpec& m = job.model;
  m.hidden = 1024;
  m.heads = m.kv_heads = 8;
  m.ffn = 4096;
  m.layers = 8;
  m.attention_bias = m.attention_out_bias = m.mlp_bias = false;
  m.moe.experts = 8;
  m.moe.experts_per_token = 2;
  m.moe.expert_ffn = 512;
  m.moe.layer_is_moe.assign(8, true);
  Strategy& s = job.strategy;
  s.tp = 2;
  s.pp = 1;
  s.dp = 4;
  s.ep = 4;
  s.global_batch = 4;
  job.cluster.gpus = 8;
  const int64_t all = predict(job).ranks[0].states.parameters;
  // Two local experts of [512, 1024] and [1024, 512], each cut in two.
  const int64_t experts = 8 * 2 * 2 * 512 * 1024 / 2;
  s.megatron.expert_tp = 1;
  CHECK(predict(job).ranks[0].states.parameters == all + experts);
  s.ep = 8;
  CHECK(predict(job).ranks[0].states.parameters == all);
}

TEST_CASE("layers that GPTModel does not have are refused by name") {
  const auto refusal = [](std::string_view family, bool parallel) {
    Job job = gpt3_175b();
    job.model.family = family;
    job.model.parallel_residual = parallel;
    try {
      predict(job);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::not_modelled);
      return error.problem();
    }
    return std::string();
  };
  CHECK(refusal("falcon", true).find("side by side") != std::string::npos);
  CHECK(refusal("gemma2", false).find("norms behind") != std::string::npos);
  CHECK(refusal("bloom", false).find("norm on the embedding") != std::string::npos);
  CHECK(refusal("llama", false).empty());
}

// A layer's tensors are gone before the next one runs, however many there are.
TEST_CASE("evaluation keeps nothing of a layer") {
  const auto above_states = [](int64_t layers) {
    Job job = gpt3_175b();
    job.strategy.pp = 1;
    job.strategy.global_batch = 8;
    job.cluster.gpus = 64;
    job.model.layers = layers;
    const RankPlan rank = predict(job).ranks.front();
    const auto phase = [&](std::string_view name) {
      return std::ranges::find(rank.phases, name, &PhasePeak::phase)->allocated;
    };
    CHECK(phase("evaluation") < phase("forward"));
    return phase("evaluation") - phase("between steps");
  };
  CHECK(above_states(12) == above_states(3));
}

}  // namespace
}  // namespace memplan
