// What routers keep, by pencil: differences between jobs that differ in their router alone.
#include <doctest/doctest.h>

#include <functional>

#include "memplan/fit.h"

namespace memplan {
namespace {

constexpr int64_t kTokens = 512, kExperts = 16, kChosen = 2;

Job routed(int64_t layers, const std::function<void(MegatronSpec&)>& change) {
  Job job;
  ModelSpec& m = job.model;
  m.family = "mixtral";
  m.implementation = Implementation::megatron;
  m.hidden = 512;
  m.layers = layers;
  m.heads = m.kv_heads = 8;
  m.head_dim = 64;
  m.ffn = m.moe.expert_ffn = 1024;
  m.moe.experts = kExperts;
  m.moe.experts_per_token = kChosen;
  m.vocab = 1024;
  m.max_positions = 4096;
  m.gated_mlp = true;
  m.activation = "silu";
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  s.sequence = kTokens;
  s.micro_batch = s.global_batch = 1;
  s.optimizer = OptimizerKind::adam;
  s.precision = parse_precision("mixed-bf16", "test");
  s.precision.gradient = DType::f32;
  s.megatron.core = {0, 18, 0};
  s.megatron.grouped_gemm = s.megatron.permute_fusion = s.megatron.router_fp32 = true;
  s.megatron.dispatcher = MegatronSpec::Dispatcher::alltoall;
  s.megatron.aux_loss = 0;
  job.cluster.gpu = find_gpu("h100-80g", "test");
  job.cluster.gpus = job.cluster.gpus_per_node = 1;
  change(s.megatron);
  return job;
}

// Of one layer more: what autograd keeps.
int64_t kept(const std::function<void(MegatronSpec&)>& change) {
  const auto of = [&](int64_t layers) {
    return predict(routed(layers, change)).ranks.front().memory.activations.count();
  };
  return of(3) - of(2);
}

// The same, what stays between steps.
int64_t left(const std::function<void(MegatronSpec&)>& change) {
  const auto of = [&](int64_t layers) {
    return predict(routed(layers, change)).ranks.front().phases[2].allocated.count();
  };
  return of(3) - of(2);
}

// Scores of the chosen experts alone, [n, k] in fp32, or of all, [n, E].
TEST_CASE("a softmax before the choice keeps all scores") {
  const int64_t after = kept([](MegatronSpec&) {});
  const int64_t before = kept([](MegatronSpec& m) { m.router_pre_softmax = true; });
  CHECK(before - after == kTokens * 4 * (kExperts - kChosen));
}

// All sigmoids, and for the division the chosen ones and their sum.
TEST_CASE("sigmoid scores keep all and what they are divided by") {
  const int64_t after = kept([](MegatronSpec&) {});
  const int64_t sigmoid = kept([](MegatronSpec& m) { m.score_function = "sigmoid"; });
  CHECK(sigmoid - after == kTokens * 4 * (kExperts + 1));
}

// Scores [n, E] in fp32 once more, and small sums in blocks of 512 bytes.
TEST_CASE("an auxiliary loss keeps scores of its own") {
  const int64_t none = kept([](MegatronSpec&) {});
  const int64_t one = kept([](MegatronSpec& m) { m.aux_loss = 0.01; });
  CHECK(one - none >= kTokens * 4 * kExperts);
  CHECK(one - none <= kTokens * 4 * kExperts + 8 * 512);
  const int64_t z = kept([](MegatronSpec& m) { m.z_loss = 0.01; });
  CHECK(z - none >= kTokens * 4 * (kExperts + 1));  // logits and their log-sum-exps
}

// Transformer Engine's map, int32 [n, 2E + 1], or an int64 for each row.
TEST_CASE("a dispatcher's attributes stay until its next forward") {
  const int64_t fused = left([](MegatronSpec&) {});
  const int64_t plain = left([](MegatronSpec& m) { m.permute_fusion = false; });
  CHECK(fused - plain == kTokens * (4 * (2 * kExperts + 1) - 8 * kChosen));
}

}  // namespace
}  // namespace memplan
