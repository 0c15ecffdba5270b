// FSDP2's step: folded layers against unrolled ones, and its buffers by pencil.
#include "cost/sharded_step.h"

#include <doctest/doctest.h>

#include "cost/eager.h"
#include "memplan/fit.h"

namespace memplan {
namespace {

Job sharded_job(int64_t layers) {
  Job job;
  ModelSpec& m = job.model;
  m.name = m.family = "llama";
  m.hidden = 64;
  m.layers = layers;
  m.heads = 8;
  m.kv_heads = 2;
  m.head_dim = 8;
  m.ffn = 176;
  m.vocab = 321;
  m.max_positions = 512;
  m.activation = "silu";
  m.gated_mlp = true;
  Strategy& s = job.strategy;
  s.framework = Framework::fsdp2;
  s.precision = parse_precision("fp32", "--precision");
  s.fsdp.param_dtype = DType::bf16;
  s.fsdp.reduce_dtype = DType::f32;
  s.attention = AttentionKind::sdpa;
  s.optimizer_impl = OptimizerImpl::foreach_;
  s.sequence = 48;
  s.dp = 6;
  s.global_batch = 6;
  return job;
}

TEST_CASE("layers walked once for all give what layers walked one by one give") {
  for (const int64_t layers : {1, 2, 5, 9})
    for (const std::optional<int64_t> after : {std::optional<int64_t>(), {1}, {3}})
      for (const int64_t micro_batches : {1, 3})
        for (const bool each : {true, false})
          for (const Recompute recompute : {Recompute::none, Recompute::full}) {
            Job job = sharded_job(layers);
            Strategy& s = job.strategy;
            s.fsdp.after_forward = after;
            s.fsdp.reduces_each = each;
            s.fsdp.replicas = layers == 5 ? 2 : 1;
            s.fsdp.reduce_dtype = layers == 5 ? DType::bf16 : DType::f32;
            s.global_batch = micro_batches * s.dp;
            s.recompute = recompute;
            for (const bool seen : {true, false}) {
              job.resizes_seen = seen;
              const EagerStep a = eager_step(job);
              const EagerStep b = eager_step(job, Grain::requested, Layers::unrolled);
              CHECK(a.activations == b.activations);
              CHECK(a.registered == b.registered);
              CHECK(a.forward.bytes == b.forward.bytes);
              CHECK(a.backward.bytes == b.backward.bytes);
              CHECK(a.backward.gathering == b.backward.gathering);
              CHECK(a.backward.reducing == b.backward.reducing);
              CHECK(a.step.bytes == b.step.bytes);
            }
          }
}

TEST_CASE(
    "HSDP keeps what it has all-reduced until backward ends, where gradients are cast of it") {
  Job job = sharded_job(4);
  Strategy& s = job.strategy;
  s.dp = s.global_batch = 12;
  s.sequence = 4;  // gradients, not activations, decide the peak
  s.fsdp.reduce_dtype = DType::bf16;
  s.fsdp.replicas = 2;
  const EagerStep copies = eager_step(job);
  s.dp = s.global_batch = 6;
  s.fsdp.replicas = 1;
  const EagerStep one = eager_step(job);
  CHECK(copies.weights == one.weights);
  CHECK(copies.optimizer == one.optimizer);
  CHECK(copies.forward.bytes == one.forward.bytes);
  CHECK(copies.step.bytes == one.step.bytes);
  CHECK(copies.backward.bytes > one.backward.bytes);
}

TEST_CASE("QLoRA: weights packed in integers stay whole, in a floating dtype they are sharded") {
  Job job = sharded_job(4);
  Strategy& s = job.strategy;
  s.quantization = {QuantKind::nf4, false, false};
  s.peft.kind = PeftKind::lora;
  s.peft.targets = {"q_proj"};
  s.precision = parse_precision("bf16", "--precision");
  const EagerStep whole = eager_step(job);
  s.quantization.storage = DType::bf16;
  const EagerStep cut = eager_step(job);
  CHECK(whole.parameters == cut.parameters);
  CHECK(whole.optimizer == cut.optimizer);
  // A layer: q, o 64 x 64; k, v 16 x 64; gate, up, down 176 x 64. Two a byte, in one column of 16
  // bits: 1024, 256 and 2816 rows, over 6 GPUs rounded up to 171, 43 and 470.
  constexpr int64_t kWhole = 2 * 2048 + 2 * 512 + 3 * 5632;
  constexpr int64_t kCut = (2 * 171 + 2 * 43 + 3 * 470) * 2;
  CHECK((whole.weights - cut.weights).count() == 4 * (kWhole - kCut));
  s.fsdp.param_dtype = DType::f32;
  CHECK_THROWS(eager_step(job));  // gathering would round packed bits
}

TEST_CASE("frozen layers that nothing flows back through leave nothing behind") {
  Job job = sharded_job(9);
  job.strategy.trainable = {Trainable::Kind::last_layers, 2};
  for (const std::optional<int64_t> after : {std::optional<int64_t>(), {1}}) {
    job.strategy.fsdp.after_forward = after;
    const EagerStep step = eager_step(job);
    CHECK(step.step.unsharded == Bytes(0));
    CHECK(step.step.gathering == Bytes(0));
    CHECK(step.step.reducing == Bytes(0));
  }
}

TEST_CASE("one rank's states: shares of fp32, padded; the last rank's moments are not") {
  Job job = sharded_job(1);
  const EagerStep first = eager_step(job);
  // Rows over 6 GPUs, rounded up: 321 → 54, 64 → 11, 16 → 3, 176 → 30.
  const int64_t layer = (11 + 3 + 3 + 11) * 64 + (30 + 30) * 64 + 11 * 176 + 11 + 11;
  const int64_t padded = 2 * 54 * 64 + 11 + layer;
  CHECK(first.weights == Bytes(padded * 4));
  job.data_rank = 5;
  const EagerStep last = eager_step(job);
  CHECK(last.weights == first.weights);
  // 321 − 5·54 = 51, 64 − 5·11 = 9, 16 − 5·3 = 1, 176 − 5·30 = 26; step counters live on the host.
  const int64_t shares = 2 * 51 * 64 + 9 + (9 + 1 + 1 + 9) * 64 + 52 * 64 + 9 * 176 + 9 + 9;
  CHECK(last.optimizer == Bytes(shares * 8));
}

TEST_CASE("offload: shards, gradients and states live on the host") {
  Job job = sharded_job(2);
  const EagerStep on_gpu = eager_step(job);
  Offload& o = job.strategy.offload;
  o.optimizer = o.gradients = o.parameters = Placement::cpu;
  const EagerStep off = eager_step(job);
  CHECK(off.weights == Bytes(0));
  CHECK(off.optimizer == Bytes(0));
  CHECK(off.host.pinned == 2 * on_gpu.weights);  // shards and their gradients, both fp32
  CHECK(off.step.bytes < on_gpu.weights);
  // Nothing that a layer keeps is elsewhere.
  CHECK(off.forward.kept == on_gpu.forward.kept);
}

TEST_CASE("the last layer's gradients wait to be reduced while the one before runs") {
  const EagerStep step = eager_step(sharded_job(9));
  CHECK(step.backward.unsharded > Bytes(0));
  CHECK(step.backward.bytes >= step.weights + step.optimizer + step.backward.unsharded +
                                   step.backward.gathering + step.backward.reducing);
}

}  // namespace
}  // namespace memplan
