#include "policy/megatron_fp8.h"

#include <doctest/doctest.h>

#include <string>

#include "memplan/error.h"
#include "memplan/fit.h"
#include "policy/megatron.h"

namespace memplan {
namespace {

constexpr int64_t kHidden = 512, kFfn = 2048, kVocab = 50432, kLayers = 2, kSequence = 1024,
                  kBatch = 2, kTp = 2;
// q, k, v, output and both matrices of an MLP, of one rank.
constexpr int64_t kLinear = kLayers * (4 * kHidden * kHidden + 2 * kHidden * kFfn) / kTp;

Job fp8_job(const char* gpu) {
  Job job;
  ModelSpec& m = job.model;
  m.family = "megatron_gpt";
  m.implementation = Implementation::megatron;
  m.hidden = kHidden;
  m.layers = kLayers;
  m.heads = m.kv_heads = 8;
  m.head_dim = 64;
  m.ffn = kFfn;
  m.vocab = kVocab;
  m.max_positions = kSequence;
  m.tie_embeddings = true;
  m.activation = "gelu";
  m.extra = {{"learned_positions", 1}};
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  s.tp = kTp;
  s.sequence_parallel = true;
  s.zero = 1;
  s.sequence = kSequence;
  s.micro_batch = s.global_batch = kBatch;
  s.optimizer = OptimizerKind::adam;
  s.precision = parse_precision("mixed-bf16", "test");
  s.precision.gradient = DType::f32;
  s.megatron.fp8 = true;
  job.cluster.gpu = find_gpu(gpu, "test");
  job.cluster.gpus = job.cluster.gpus_per_node = kTp;
  return job;
}

Bytes held_between_steps(const Job& job) {
  const Plan plan = predict(job);
  for (const PhasePeak& phase : plan.ranks.front().phases)
    if (phase.phase == "between steps") return phase.allocated;
  return {};
}

// Weights of bf16 with two fp8 copies of Hopper's, one of Blackwell's; of fp8 with a transpose, or
// none. All in bytes a weight beside those of bf16 without fp8.
TEST_CASE("fp8: bytes a weight of a linear layer") {
  for (const auto& [gpu, copies] : {std::pair{"h100-80g", 2}, {"gb200", 1}}) {
    CAPTURE(gpu);
    Job job = fp8_job(gpu);
    Job plain = job;
    plain.strategy.megatron.fp8 = false;
    const Bytes without = held_between_steps(plain);
    CHECK(held_between_steps(job) - without == Bytes(copies * kLinear));
    job.strategy.megatron.fp8_weights = true;
    CHECK(held_between_steps(job) - without == Bytes((copies - 2) * kLinear));
  }
}

// Four linear layers in each of two: three scales and two, and as many maxima of 100 steps (1,200
// and 800 bytes), in blocks of 512.
TEST_CASE("fp8: delayed scaling keeps maxima of earlier steps") {
  Job job = fp8_job("h100-80g");
  const Bytes without = held_between_steps(job);
  job.strategy.megatron.fp8_delayed = true;
  job.strategy.megatron.fp8_history = 100;
  CHECK(held_between_steps(job) - without == Bytes(8 * (512 + 1536 + 512 + 1024)));
}

// Eight buffers of the sequence in fp8 and four in bf16: 16 bytes for each of s·b·h elements;
// without fp8 24. Three streams' workspaces of 32 MiB and 1 KiB.
TEST_CASE("Userbuffers lie outside the allocator, their workspaces inside") {
  Job job = fp8_job("h100-80g");
  const Bytes before = held_between_steps(job);
  job.strategy.megatron.tp_overlap = true;
  CHECK(megatron::registered_buffers(job) == Bytes(16 * kSequence * kBatch * kHidden));
  CHECK(held_between_steps(job) - before == Bytes(3 * ((int64_t{32} << 20) + 1024)));
  CHECK(predict(job).ranks.front().memory.libraries == megatron::registered_buffers(job));
  job.strategy.megatron.fp8 = false;
  CHECK(megatron::registered_buffers(job) == Bytes(24 * kSequence * kBatch * kHidden));
}

void expect(ErrorKind kind, const char* fragment, void (*change)(Job&)) {
  Job job = fp8_job("h100-80g");
  change(job);
  CAPTURE(fragment);
  try {
    predict(job);
    FAIL_CHECK("was accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    CHECK(std::string(error.what()).find(fragment) != std::string::npos);
  }
}

TEST_CASE("what fp8 is not modelled with is refused by name") {
  constexpr ErrorKind refused = ErrorKind::not_modelled, bad = ErrorKind::bad_input;
  expect(refused, "full recomputation of fp8",
         [](Job& j) { j.strategy.recompute = Recompute::full; });
  expect(refused, "core_attn alone", [](Job& j) {
    j.strategy.recompute = Recompute::selective;
    j.strategy.megatron.recompute_modules = {"mlp"};
  });
  expect(refused, "--transformer-impl local", [](Job& j) { j.strategy.megatron.local = true; });
  expect(refused, "Hopper and Blackwell",
         [](Job& j) { j.cluster.gpu = find_gpu("a100-80g", "test"); });
  expect(refused, "muon with fp8", [](Job& j) { j.strategy.optimizer = OptimizerKind::muon; });
  expect(bad, "needs the distributed optimizer", [](Job& j) {
    j.strategy.zero = 0;
    j.strategy.megatron.fp8_weights = true;
  });
  expect(bad, "needs fp8", [](Job& j) {
    j.strategy.megatron.fp8 = false;
    j.strategy.megatron.fp8_weights = true;
  });
  expect(bad, "needs sequence parallelism", [](Job& j) {
    j.strategy.sequence_parallel = false;
    j.strategy.megatron.tp_overlap = true;
  });
}

}  // namespace
}  // namespace memplan
