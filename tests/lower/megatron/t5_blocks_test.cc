#include "lower/megatron/t5_blocks.h"

#include <doctest/doctest.h>

#include "memplan/error.h"
#include "memplan/fit.h"

namespace memplan {
namespace {

constexpr int64_t kHidden = 768, kHeads = 12, kFfn = 3072, kSource = 512, kTarget = 128;

// T5 of 220 million parameters, tp ranks, cuDNN's attention, no dropout.
Job t5_base(int64_t layers, int64_t tp) {
  Job job;
  ModelSpec& m = job.model;
  m.family = "megatron_t5";
  m.head = ModelHead::seq2seq_lm;
  m.implementation = Implementation::megatron;
  m.hidden = kHidden;
  m.layers = m.decoder_layers = layers;
  m.heads = m.kv_heads = kHeads;
  m.head_dim = 64;
  m.ffn = kFfn;
  m.vocab = 29184;
  m.max_positions = kSource;
  m.tie_embeddings = m.attention_bias = m.attention_out_bias = m.mlp_bias = true;
  m.activation = "gelu";
  m.extra = {{"decoder_seq_length", kTarget}, {"learned_positions", 1}};
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  s.tp = tp;
  s.sequence = kSource;
  s.micro_batch = s.global_batch = 4;
  s.optimizer = OptimizerKind::adam;
  s.precision = parse_precision("mixed-bf16", "test");
  s.precision.gradient = DType::f32;
  job.cluster.gpu = find_gpu("h100-80g", "test");
  job.cluster.gpus = job.cluster.gpus_per_node = tp;
  return job;
}

// Cut in two: the matrices, biases of their outputs, words and the bias of the head.
TEST_CASE("T5Model: parameters of a rank") {
  constexpr int64_t h = kHidden, layers = 12, tp = 2;
  constexpr int64_t attention = 4 * h * h / tp + 3 * h / tp + h, norm = 2 * h;
  constexpr int64_t mlp = 2 * h * kFfn / tp + kFfn / tp + h;
  constexpr int64_t encoder = attention + mlp + 2 * norm;
  constexpr int64_t decoder = 2 * attention + mlp + 3 * norm;
  constexpr int64_t ends = 29184 / tp * h + kSource * h + 2 * norm + 29184 / tp;
  const Plan plan = predict(t5_base(layers, tp));
  CHECK(plan.ranks.front().states.parameters == layers * (encoder + decoder) + ends);
}

// One more layer of each stack. In sizes of the stream, 2h bytes a token: input and output of each
// norm, q, k, v, what attention gives, input and output of the activation (4 each); statistics of
// norms 8 bytes a token, of attention 4 a head. Keys and values of the source twice.
TEST_CASE("T5Model: what a layer of each stack keeps") {
  constexpr int64_t h = kHidden, batch = 4;
  constexpr int64_t encoder = 16 * 2 * h + 2 * 8 + 4 * kHeads;
  constexpr int64_t decoder = (16 + 4) * 2 * h + 3 * 8 + 2 * 4 * kHeads;
  constexpr int64_t keys = 2 * 2 * h;
  const auto kept = [](int64_t layers) {
    return predict(t5_base(layers, 1)).ranks.front().memory.activations;
  };
  CHECK(kept(5) - kept(4) == Bytes(batch * (kSource * (encoder + keys) + kTarget * decoder)));
}

TEST_CASE("T5Model: full recomputation is refused") {
  Job job = t5_base(2, 1);
  job.strategy.recompute = Recompute::full;
  CHECK_THROWS_AS(predict(job), Error);
}

}  // namespace
}  // namespace memplan
