// The walk of whole models: folded layers against unrolled ones, and formulas by pencil.
#include "cost/eager.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>

#include "jobs.h"
#include "lower/families.h"
#include "lower/stretches.h"
#include "memplan/error.h"
#include "memplan/fit.h"
#include "ops/optimizer.h"

namespace memplan {
namespace {

ModelSpec llama(int64_t layers) {
  ModelSpec m;
  m.name = m.family = "llama";
  m.hidden = 64;
  m.layers = layers;
  m.heads = 8;
  m.kv_heads = 2;
  m.head_dim = 8;
  m.ffn = 176;
  m.vocab = 320;
  m.max_positions = 512;
  m.activation = "silu";
  m.gated_mlp = true;
  return m;
}

Job eager_job(int64_t layers) {
  Job job;
  job.model = llama(layers);
  Strategy& s = job.strategy;
  s.framework = Framework::huggingface;
  s.precision = parse_precision("bf16", "--precision");
  s.attention = AttentionKind::sdpa;
  s.sequence = 48;
  s.micro_batch = 2;
  s.global_batch = 2;
  return job;
}

void check_same(const EagerStep& a, const EagerStep& b) {
  CHECK(a.parameters == b.parameters);
  CHECK(a.optimizer == b.optimizer);
  CHECK(a.activations == b.activations);
  for (const auto& [x, y] : {std::pair{&a.forward, &b.forward}, std::pair{&a.backward, &b.backward},
                             std::pair{&a.step, &b.step}}) {
    CHECK(x->bytes == y->bytes);
    CHECK(x->at == y->at);
    CHECK(x->kept == y->kept);
    CHECK(x->gradients == y->gradients);
  }
}

TEST_CASE("layers walked once for all give what layers walked one by one give") {
  for (const int64_t layers : {1, 3, 4, 9})
    for (const Recompute recompute : {Recompute::none, Recompute::full})
      for (const AttentionKind attention : {AttentionKind::sdpa, AttentionKind::unfused})
        for (const char* precision : {"bf16", "amp-bf16", "fp32"})
          for (const Backend backend : {Backend::cuda, Backend::cpu}) {
            Job job = eager_job(layers);
            job.backend = backend;
            job.strategy.recompute = recompute;
            job.strategy.attention = attention;
            job.strategy.precision = parse_precision(precision, "--precision");
            job.strategy.global_batch = layers == 9 ? 6 : 2;  // with gradients from before
            CAPTURE(layers);
            CAPTURE(precision);
            for (const Grain grain : {Grain::requested, Grain::blocks})
              check_same(eager_step(job, grain), eager_step(job, grain, Layers::unrolled));
          }
}

TEST_CASE("alternating layers fold by their period") {
  Job job = eager_job(14);
  job.strategy.attention = AttentionKind::sdpa;
  job.model.sliding_window = 16;
  job.model.layer_is_sliding.resize(14);
  for (size_t i = 0; i < 14; ++i) job.model.layer_is_sliding[i] = i % 3 != 2;
  check_same(eager_step(job), eager_step(job, Grain::requested, Layers::unrolled));
}

TEST_CASE("gradients that backward spends fold as others do") {
  for (const int64_t layers : {1, 2, 5, 9})
    for (const Recompute recompute : {Recompute::none, Recompute::full})
      for (const OptimizerKind optimizer : {OptimizerKind::lomo, OptimizerKind::adalomo,
                                            OptimizerKind::adamw, OptimizerKind::sgd}) {
        Job job = eager_job(layers);
        Strategy& s = job.strategy;
        s.recompute = recompute;
        s.optimizer = optimizer;
        s.optimizer_in_backward = !updates_in_backward(optimizer);
        CAPTURE(layers);
        CAPTURE(to_string(optimizer));
        check_same(eager_step(job), eager_step(job, Grain::requested, Layers::unrolled));
      }
}

TEST_CASE("an update in backward leaves no gradients for the step") {
  const auto with = [](OptimizerKind optimizer, bool in_backward) {
    Job job = eager_job(6);
    job.strategy.optimizer = optimizer;
    job.strategy.optimizer_in_backward = in_backward;
    return eager_step(job);
  };
  const EagerStep plain = with(OptimizerKind::sgd, false);
  CHECK(plain.step.gradients == plain.weights);
  for (const EagerStep& step : {with(OptimizerKind::sgd, true), with(OptimizerKind::lomo, false)}) {
    CHECK(step.step.gradients == Bytes(0));
    CHECK(step.step.bytes == plain.step.bytes - plain.weights);
    CHECK(step.activations == plain.activations);
  }
  // The last gradient, the embedding's, waits for the hook; both copies of it are fp32.
  const EagerStep lomo = with(OptimizerKind::lomo, false);
  const int64_t embedding = 320 * 64;
  CHECK(lomo.backward.bytes >= lomo.weights + lomo.optimizer + Bytes(embedding * 8));
}

TEST_CASE("what an update in backward rules out is refused") {
  const auto kind = [](auto change) -> std::optional<ErrorKind> {
    Job job = eager_job(2);
    job.strategy.optimizer_in_backward = true;
    change(job.strategy);
    try {
      eager_step(job);
    } catch (const Error& error) {
      return error.kind();
    }
    return {};
  };
  CHECK(kind([](Strategy& s) { s.global_batch = 4; }) == ErrorKind::bad_input);
  CHECK(kind([](Strategy& s) { s.optimizer = OptimizerKind::lomo; }) == ErrorKind::bad_input);
  CHECK(kind([](Strategy& s) { s.clip_gradients = true; }) == ErrorKind::not_modelled);
  CHECK(kind([](Strategy& s) { s.dp = s.global_batch = 4; }) == ErrorKind::not_modelled);
  CHECK_FALSE(kind([](Strategy&) {}));
}

TEST_CASE("without an optimizer there are gradients and no states") {
  Job job = eager_job(3);
  job.strategy.optimizer = OptimizerKind::none;
  const EagerStep step = eager_step(job);
  CHECK(step.optimizer == Bytes(0));
  CHECK(step.step.gradients == step.weights);
  CHECK(step.step.at == "start");
}

TEST_CASE("DataParallel's GPUs") {
  Job job = eager_job(6);
  Strategy& s = job.strategy;
  const EagerStep alone = eager_step(job);
  s.data_parallel = DataParallelKind::data_parallel;
  s.dp = 4;
  s.global_batch = 8;
  const auto on = [&](Replica role) {
    return eager_step(job, Grain::requested, Layers::folded, role);
  };
  for (const bool keep : {false, true}) {
    s.keep_outputs = keep;
    const EagerStep first = on(Replica::first), other = on(Replica::other);
    CHECK(first.inputs == 4 * alone.inputs);
    CHECK(other.inputs == alone.inputs);
    CHECK(first.optimizer == alone.optimizer);
    CHECK(other.optimizer == Bytes(0));
    // Four replicas' logits; their losses in a vector
    const int64_t logits = keep ? 4 * 2 * 48 * 320 * 2 : 0;
    CHECK((first.activations - alone.activations).count() == logits + 4 * 4);
    CHECK(other.activations == alone.activations);
    // Its own gradients and the sums at once
    CHECK(first.backward.bytes >= first.weights + first.optimizer + 2 * first.weights);
    CHECK(first.step.gradients == alone.step.gradients);
    check_same(first, eager_step(job, Grain::requested, Layers::unrolled, Replica::first));
    check_same(other, eager_step(job, Grain::requested, Layers::unrolled, Replica::other));
  }
}

TEST_CASE("a llama layer keeps 16h + 4hq + 4hkv + 8f + 4nh + 8 bytes a token") {
  const auto held = [](int64_t layers) { return eager_step(eager_job(layers)).activations; };
  const int64_t h = 64, hq = 64, hkv = 16, f = 176, nh = 8, tokens = 2 * 48;
  const int64_t expected = (16 * h + 4 * hq + 4 * hkv + 8 * f + 4 * nh + 8) * tokens;
  // and three int64 of the flash kernel: the generator's state, and one that is unused
  CHECK((held(4) - held(3)).count() == expected + 24);
}

TEST_CASE("a checkpointed layer keeps its input") {
  const auto held = [](int64_t layers) {
    Job job = eager_job(layers);
    job.strategy.recompute = Recompute::full;
    return eager_step(job).activations;
  };
  CHECK((held(9) - held(8)).count() == 2 * 64 * 2 * 48);
}

TEST_CASE("stretches keep every layer") {
  const std::vector<Run> runs = {{0, 0, 1},  {1, 1, 7},  {2, 8, 1},  {1, 9, 1}, {2, 10, 1},
                                 {1, 11, 1}, {2, 12, 1}, {1, 13, 1}, {2, 14, 1}};
  int64_t layers = 0;
  bool repeated = false;
  for (const Stretch& s : stretches(runs)) {
    layers += std::ssize(s.blocks) * s.count;
    repeated |= s.count > 1;
  }
  CHECK(layers == 15);
  CHECK(repeated);
}

TEST_CASE("what eager PyTorch does not do is refused by name") {
  const auto refused = [](auto change) {
    Job job = eager_job(2);
    change(job.strategy);
    try {
      eager_step(job);
    } catch (const Error& error) {
      return error.kind() == ErrorKind::not_modelled;
    }
    return false;
  };
  CHECK(refused([](Strategy& s) { s.tp = 2; }));
  CHECK(refused([](Strategy& s) { s.zero = 3; }));
  CHECK(refused([](Strategy& s) {
    s.loss = LossKind::unsloth;
    s.torch = {2, 7, 1};
  }));
  CHECK(refused([](Strategy& s) { s.transformers = {4, 43, 4}; }));
  CHECK_FALSE(refused([](Strategy&) {}));
}

TEST_CASE("the parts of a rank's memory add up") {
  Job job = eager_job(6);
  job.cluster.gpu = find_gpu("h100-80g");
  job.cluster.gpus = job.cluster.gpus_per_node = 1;
  const Plan plan = predict(job);
  const RankMemory& m = plan.ranks.front().memory;
  CHECK(m.weights + m.gradients + m.optimizer + m.activations + m.transient + m.buffers ==
        m.allocated);
  CHECK(m.transient >= Bytes(0));
  Bytes lines;
  for (const LedgerLine& line : plan.ranks.front().lines) lines += line.bytes;
  CHECK(lines == m.allocated);
}

TEST_CASE("torch.compile is given between what kernels read and what eager execution keeps") {
  Job job = eager_job(6);
  job.cluster.gpu = find_gpu("h100-80g");
  job.cluster.gpus = job.cluster.gpus_per_node = 1;
  job.strategy.sequence = 512;
  const Plan eager = predict(job);
  job.strategy.compile = true;
  const Plan compiled = predict(job);
  CHECK(eager.ranks[0].below == Bytes(0));
  CHECK(compiled.ranks[0].below > Bytes(0));
  CHECK(compiled.verdict.low < eager.verdict.low);
  CHECK(compiled.verdict.expected >= eager.verdict.expected);
}

TEST_CASE("of a llama layer, kernels read 4h + 4hq + 4hkv + 2f + 4nh bytes a token") {
  // bf16: both norms' outputs, the MLP's product, q, k, v, attention's output; its log-sum-exp
  const auto operands = [](int64_t layers) {
    Job job = eager_job(layers);
    job.strategy.framework = Framework::pytorch;  // transformers' own loop gives sdpa a mask
    job.strategy.compile = true;
    return eager_step(job).operands;
  };
  const int64_t h = 64, hq = 64, hkv = 16, f = 176, nh = 8, tokens = 2 * 48;
  const int64_t expected = (2 * 2 * h + 2 * (2 * hq + 2 * hkv) + 2 * f + 4 * nh) * tokens;
  CHECK((operands(4) - operands(3)).count() == expected);
}

// Gate and up of each layer are outputs of products [b, s, f]; folded layers count all their
// rounds.
TEST_CASE("kept tensors are told by who made them, whether layers are folded or not") {
  const Job job = eager_job(5);
  const auto count = [&](Layers layers) {
    const EagerStep step = eager_step(job, Grain::requested, layers);
    int64_t wide = 0;
    for (const aten::KeptTensors& k : step.kept)
      if (k.op == "aten.mm.default" && k.sizes == aten::Shape{2, 48, 176}) wide += k.count;
    return wide;
  };
  CHECK(count(Layers::folded) == 2 * 5);
  CHECK(count(Layers::unrolled) == 2 * 5);
}

// A checkpointed layer keeps its input [b, s, h] and nothing else.
TEST_CASE("the inputs of checkpointed layers are kept") {
  Job job = eager_job(6);
  job.strategy.recompute = Recompute::full;
  int64_t inputs = 0;
  for (const aten::KeptTensors& k : eager_step(job).kept)
    if (k.sizes == aten::Shape{2, 48, 64} && k.dtype == DType::bf16) inputs += k.count;
  CHECK(inputs >= 6);
  CHECK(inputs <= 8);  // beside those of the final norm
}

}  // namespace
}  // namespace memplan
