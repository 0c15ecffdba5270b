#include "lower/megatron/adapter.h"

#include <doctest/doctest.h>

#include "memplan/error.h"
#include "memplan/fit.h"

namespace memplan {
namespace {

constexpr int64_t kHidden = 1024, kFfn = 2048, kHeads = 16, kTokens = 512, kRank = 16;

// Layers with RMSNorm and gated MLPs, cuDNN's attention, adapters beside every linear layer.
Job adapted(int64_t layers, int64_t tp, int64_t pp = 1) {
  Job job;
  ModelSpec& m = job.model;
  m.family = "llama";
  m.implementation = Implementation::megatron;
  m.hidden = kHidden;
  m.layers = layers;
  m.heads = m.kv_heads = kHeads;
  m.head_dim = kHidden / kHeads;
  m.ffn = kFfn;
  m.vocab = 1024;
  m.max_positions = 4096;
  m.gated_mlp = true;
  m.activation = "silu";
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  s.tp = tp;
  s.pp = pp;
  s.sequence = kTokens;
  s.micro_batch = 1;
  s.global_batch = pp;
  s.optimizer = OptimizerKind::adam;
  s.precision = parse_precision("mixed-bf16", "test");
  s.precision.gradient = DType::f32;
  s.peft = make_peft(PeftKind::bridge_lora);
  s.peft.rank = kRank;
  s.peft.targets = {"linear_qkv", "linear_proj", "linear_fc1", "linear_fc2"};
  job.cluster.gpu = find_gpu("h100-80g", "test");
  job.cluster.gpus = job.cluster.gpus_per_node = tp * pp;
  return job;
}

RankPlan first_rank(const Job& job) { return predict(job).ranks.front(); }

// r·(in + out) of each layer: qkv, output, gate and up, down. Cut by tp, whichever way.
TEST_CASE("adapters alone have gradients and states, a part on each tensor-parallel rank") {
  constexpr int64_t h = kHidden, f = kFfn;
  constexpr int64_t adapters = kRank * (4 * h + 2 * h + (h + 2 * f) + (f + h));
  constexpr int64_t frozen = 4 * h * h + 3 * h * f;
  for (const int64_t tp : {1, 2}) {
    const States two = first_rank(adapted(2, tp)).states;
    const States three = first_rank(adapted(3, tp)).states;
    CHECK(three.trainable - two.trainable == adapters / tp);
    CHECK(three.parameters - two.parameters == (adapters + frozen) / tp + 2 * h);
    CHECK(three.gradients - two.gradients == Bytes(4 * adapters / tp));
    CHECK(three.optimizer - two.optimizer == Bytes(12 * adapters / tp));
    CHECK(three.weights - two.weights == Bytes(2 * ((adapters + frozen) / tp + 2 * h)));
  }
}

// One more layer, in elements a token: input and output of both norms, q, k, v and what attention
// gives, input (2f) and output of the activation, and four times the rank; 1/deviation of norms 4
// bytes a token, attention's statistics 4 a head.
TEST_CASE("a layer with adapters keeps what they read") {
  constexpr int64_t layer = 2 * (8 * kHidden + 3 * kFfn + 4 * kRank) + 2 * 4 + 4 * kHeads;
  CHECK(first_rank(adapted(3, 1)).memory.activations -
            first_rank(adapted(2, 1)).memory.activations ==
        Bytes(kTokens * layer));
}

// The norm's output is gathered for the adapter and kept whole beside the rank's own part of it.
TEST_CASE("under sequence parallelism adapters keep gathered inputs") {
  const auto layer = [](bool sequence_parallel) {
    Job two = adapted(2, 2), three = adapted(3, 2);
    two.strategy.sequence_parallel = three.strategy.sequence_parallel = sequence_parallel;
    return first_rank(three).memory.activations - first_rank(two).memory.activations;
  };
  // Of what was whole, inputs of norms and their outputs are halved and statistics with them; the
  // outputs gathered come beside.
  constexpr int64_t whole = 2 * 4 * kHidden + 2 * 4, gathered = 2 * 2 * kHidden;
  CHECK(layer(false) - layer(true) == Bytes(kTokens * (whole / 2 - gathered)));
}

TEST_CASE("every stage has its adapters, and its messages have gradients") {
  const Plan plan = predict(adapted(4, 1, 2));
  REQUIRE(plan.ranks.size() == 2);
  CHECK(plan.ranks[0].states.trainable == plan.ranks[1].states.trainable);
}

TEST_CASE("what the adapters of Megatron-Bridge cannot do is refused") {
  Job job = adapted(2, 1);
  job.strategy.peft.targets = {"linear_qkv", "output_layer"};
  CHECK_THROWS_WITH_AS(predict(job), doctest::Contains("output_layer"), Error);
  job = adapted(2, 1);
  job.strategy.megatron.local = true;
  CHECK_THROWS_WITH_AS(predict(job), doctest::Contains("local spec"), Error);
  job = adapted(2, 2);
  job.strategy.peft.rank = 3;
  CHECK_THROWS_WITH_AS(predict(job), doctest::Contains("the rank 3"), Error);
}

}  // namespace
}  // namespace memplan
