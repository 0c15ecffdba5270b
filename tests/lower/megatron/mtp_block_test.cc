#include "lower/megatron/mtp_block.h"

#include <doctest/doctest.h>

#include "memplan/fit.h"

namespace memplan {
namespace {

constexpr int64_t kHidden = 1024, kFfn = 2048, kHeads = 16, kTokens = 512, kVocab = 2048;

// Layers with RMSNorm and gated MLPs, cuDNN's attention, and `more` tokens predicted.
Job predicting(int64_t more, int64_t pp, Version core = {0, 18, 0}) {
  Job job;
  ModelSpec& m = job.model;
  m.family = "llama";
  m.implementation = Implementation::megatron;
  m.hidden = kHidden;
  m.layers = 4;
  m.heads = m.kv_heads = kHeads;
  m.head_dim = kHidden / kHeads;
  m.ffn = kFfn;
  m.vocab = kVocab;
  m.max_positions = 4096;
  m.gated_mlp = true;
  m.activation = "silu";
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  s.pp = pp;
  s.sequence = kTokens;
  s.micro_batch = 1;
  s.global_batch = pp;
  s.optimizer = OptimizerKind::adam;
  s.precision = parse_precision("mixed-bf16", "test");
  s.precision.gradient = DType::f32;
  s.megatron.core = core;
  s.megatron.mtp_layers = more;
  job.cluster.gpu = find_gpu("h100-80g", "test");
  job.cluster.gpus = job.cluster.gpus_per_node = pp;
  return job;
}

// A transformer layer (4h² + 3hf and two norms), three norms of h, and 2h·h of the projection.
constexpr int64_t kLayer =
    4 * kHidden * kHidden + 3 * kHidden * kFfn + 5 * kHidden + 2 * kHidden * kHidden;

TEST_CASE("a predicting layer is a layer, three norms and a projection, of the last stage") {
  const auto parameters = [](int64_t more, int64_t pp) {
    return predict(predicting(more, pp)).ranks.back().states.parameters;
  };
  CHECK(parameters(1, 1) - parameters(0, 1) == kLayer);
  CHECK(parameters(2, 1) - parameters(1, 1) == kLayer);
  // Behind the first stage, with an embedding of its own, which is no parameter more of the model.
  CHECK(parameters(1, 2) - parameters(0, 2) == kLayer + kVocab * kHidden);
  CHECK(predict(predicting(1, 2)).parameters - predict(predicting(0, 2)).parameters == kLayer);
  CHECK(predict(predicting(1, 2)).ranks.front().states.parameters ==
        predict(predicting(0, 2)).ranks.front().states.parameters);
}

// Until 0.17 a variable holds the logits of the last token more while the loss is computed.
TEST_CASE("older releases hold logits until the loss is there") {
  const auto forward = [](Version core) {
    return predict(predicting(1, 1, core)).ranks.front().phases.front();
  };
  const PhasePeak now = forward({0, 17, 0}), before = forward({0, 16, 0});
  REQUIRE(now.phase == "forward");
  CHECK(now.at == before.at);
  CHECK(before.allocated - now.allocated == Bytes(kTokens * kVocab * 2));
}

}  // namespace
}  // namespace memplan
