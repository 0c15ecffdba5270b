#include "lower/megatron/hybrid_blocks.h"

#include <doctest/doctest.h>

#include "memplan/error.h"
#include "memplan/fit.h"

namespace memplan {
namespace {

constexpr int64_t kHidden = 1024, kFfn = 4096, kBatch = 4, kSequence = 1024;
constexpr int64_t kHeads = 32, kDim = 64, kGroups = 8, kState = 128, kWidth = kHeads * kDim;
constexpr int64_t kChannels = kWidth + 2 * kGroups * kState;
constexpr int64_t kProjected = kWidth + kChannels + kHeads;

Job hybrid(std::string pattern, int64_t tp) {
  Job job;
  ModelSpec& m = job.model;
  m.family = "megatron_hybrid";
  m.implementation = Implementation::megatron;
  m.hidden = kHidden;
  m.layers = static_cast<int64_t>(pattern.size());
  m.hybrid_pattern = std::move(pattern);
  m.ssm = {kHeads, kDim, kGroups, kState};
  m.heads = 16;
  m.kv_heads = 8;
  m.head_dim = 64;
  m.ffn = kFfn;
  m.vocab = 50304;
  m.max_positions = kSequence;
  m.tie_embeddings = m.attention_bias = m.attention_out_bias = m.mlp_bias = true;
  m.activation = "gelu";
  m.extra = {{"learned_positions", 1}};
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  s.tp = tp;
  s.sequence = kSequence;
  s.micro_batch = s.global_batch = kBatch;
  s.optimizer = OptimizerKind::adam;
  s.precision = parse_precision("mixed-bf16", "test");
  s.precision.gradient = DType::f32;
  job.cluster.gpu = find_gpu("h100-80g", "test");
  job.cluster.gpus = job.cluster.gpus_per_node = tp;
  return job;
}

int64_t parameters(const std::string& pattern, int64_t tp) {
  return predict(hybrid(pattern, tp)).ranks.front().states.parameters;
}

// Of a mixer, cut in two: both projections, taps and bias of the convolution, dt_bias, A_log and D,
// the norm before its gate; whole: the norm before it. Of attention: q, k and v (16 + 2·8 heads),
// their biases, the output. Of an MLP: two matrices.
TEST_CASE("hybrid model: parameters of a layer") {
  constexpr int64_t h = kHidden, tp = 2, norm = 2 * h;
  const int64_t two = parameters("M-", tp);
  constexpr int64_t mixer =
      (h * kProjected + 5 * kChannels + 3 * kHeads + kWidth + kWidth * h) / tp + norm;
  CHECK(parameters("M-M", tp) - two == mixer);
  constexpr int64_t qkv = 2 * h;
  CHECK(parameters("M-*", tp) - two == (h * qkv + qkv + h * h) / tp + h + norm);
  CHECK(parameters("M--", tp) - two == (2 * h * kFfn + kFfn) / tp + h + norm);
}

// A mixer more keeps, in bytes of a token: input and output of its norm (2h each) with mean and
// 1/deviation, the projection once more by sample, the scan's output before its gate, input and
// output of the norm behind it with 1/deviation of 8 groups. A, exp(A_log) and dt_bias in fp32.
TEST_CASE("hybrid model: what a mixer keeps") {
  constexpr int64_t token = 4 * kHidden + 8 + 2 * kProjected + 3 * 2 * kWidth + 4 * kGroups;
  const auto kept = [](const std::string& pattern) {
    return predict(hybrid(pattern, 1)).ranks.front().memory.activations;
  };
  constexpr int64_t small = 3 * 512;  // blocks of the allocator
  CHECK(kept("MMM-") - kept("MM-") == Bytes(kBatch * kSequence * token + small));
}

TEST_CASE("hybrid model: adapters are refused") {
  Job job = hybrid("M*-", 1);
  job.strategy.peft.kind = PeftKind::lora;
  CHECK_THROWS_AS(predict(job), Error);
}

}  // namespace
}  // namespace memplan
