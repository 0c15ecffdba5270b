#include "policy/megatron.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "memplan/error.h"

namespace memplan {
namespace {

using megatron::buffer_elements;
using megatron::BufferGroup;
using megatron::state_memory;

Job job_of(int zero) {
  Job job;
  job.strategy.framework = Framework::megatron;
  job.strategy.optimizer = OptimizerKind::adam;
  job.strategy.zero = zero;
  job.strategy.precision = parse_precision("mixed-bf16", "test");
  job.strategy.precision.gradient = DType::f32;
  return job;
}

// Reverse order: 100, then 3 from 128 on: 131, rounded up to lcm(3, 128) = 384.
TEST_CASE("tensors of a distributed optimizer start at multiples of 64") {
  const BufferGroup group{{3, 100}, 3};
  CHECK(buffer_elements(job_of(1).strategy, group) == 384);
  CHECK(buffer_elements(job_of(0).strategy, group) == 103);
}

TEST_CASE("with overlap a bucket closes behind the tensor that fills it") {
  Job job = job_of(1);
  job.strategy.megatron.overlap_grad_reduce = true;
  job.strategy.megatron.bucket_elements = 1000;
  // 1000 fills a bucket: the next starts at 1024, the last ends at 1024 + 128.
  CHECK(buffer_elements(job.strategy, {{10, 1000}, 2}) == 1152);
  job.strategy.megatron.pad_buckets = true;
  CHECK(buffer_elements(job.strategy, {{10, 1000}, 2}) == 2 * 65536);
}

// A tensor of 1024 elements: 2 + 4 + 12 bytes each; sharded by two, 2 + 4 + 6.
TEST_CASE("bytes a parameter") {
  const BufferGroup group{{1024}, 2};
  const auto all = [&](const Job& job) {
    const megatron::StateMemory m = state_memory(job, {{group}});
    return (m.weights + m.gradients + m.optimizer).count();
  };
  CHECK(all(job_of(0)) == 1024 * 18);
  CHECK(all(job_of(1)) == 1024 * (6 + 12 / 2));
  // fp16 gradients are copied for the master weights: 20 bytes.
  Job fp16 = job_of(0);
  fp16.strategy.precision = parse_precision("mixed-fp16", "test");
  fp16.strategy.precision.gradient = DType::f16;
  CHECK(all(fp16) == 1024 * 20);
  Job fp32 = job_of(0);
  fp32.strategy.precision = parse_precision("fp32", "test");
  CHECK(all(fp32) == 1024 * 16);
}

// Two tensors of 1024 elements in bf16: 2048 B each, 4096 B of gradients in fp32.
TEST_CASE("parameters lie twice while a buffer of the distributed optimizer is made") {
  const auto peak = [](int zero, int64_t ranks, std::vector<BufferGroup> groups) {
    for (BufferGroup& group : groups) group.ranks = ranks;
    return megatron::initialisation_peak(job_of(zero), groups).count();
  };
  // All made, then a buffer of 2048 and one of 4096 B for each: the first has moved by then.
  CHECK(peak(1, 64, {{{1024}, 1}, {{1024}, 1}}) == 2048 + 2 * (2048 + 4096));
  CHECK(peak(1, 64, {{{1024, 1024}, 1}}) == 2 * 2048 + 2 * (2048 + 4096));
  // Of two ranks each keeps master weights of half: they come once all has moved.
  CHECK(peak(1, 2, {{{1024}, 1}, {{1024}, 1}}) == 2 * (2048 + 4096 + 2048));
  // Without it nothing moves, and master weights are whole.
  CHECK(peak(0, 64, {{{1024}, 1}}) == 2048 + 4096 + 4096);
}

// A matrix and a vector of 1024 elements: 2 B of weight and 4 B of gradient each; of those the rank
// updates a master weight, one moment of Muon's or two of Adam's.
TEST_CASE("Muon: weights and gradients are whole, states are of what the rank updates") {
  Job job = job_of(1);
  job.strategy.optimizer = OptimizerKind::muon;
  job.strategy.megatron.muon.precomputed_layout = false;
  megatron::OptimizerTensor matrix{.elements = 1024, .rows = 32, .columns = 32};
  megatron::OptimizerTensor vector{.elements = 1024, .vector = true};
  const auto states = [&](const std::vector<megatron::OptimizerTensor>& own) {
    return state_memory(job, {{{{1024, 1024}, 2}}}, own);
  };
  CHECK(states({matrix}).weights == Bytes(2 * 2048));
  CHECK(states({matrix}).gradients == Bytes(2 * 4096));
  CHECK(states({matrix}).optimizer == Bytes(4096 + 4096));
  CHECK(states({vector}).optimizer == Bytes(4096 + 2 * 4096));
  CHECK(states({matrix, vector}).made_by_step == Bytes(3 * 4096));
  // Nothing moves into buffers.
  const std::vector<BufferGroup> groups{{{1024, 1024}, 2}};
  CHECK(megatron::initialisation_peak(job, groups, std::vector{matrix}) ==
        Bytes(2 * (2048 + 4096) + 4096));
  job.strategy.precision.gradient = DType::bf16;
  CHECK(states({matrix}).optimizer == Bytes(3 * 4096));
}

// Adam's 100 elements in a buffer of 128, of which each of two ranks has 64; Muon's matrices of
// 1024 and 512 in two shards of 1024. Of Adam's 12 B of states an element, of Muon's matrix 8 B.
TEST_CASE("Muon with buffers of its own") {
  Job job = job_of(1);
  Strategy& s = job.strategy;
  s.optimizer = OptimizerKind::muon;
  s.dp = 2;
  const std::vector<megatron::OptimizerTensor> tensors{
      {.elements = 1024, .rows = 32, .columns = 32},
      {.elements = 100, .vector = true},
      {.elements = 512, .rows = 16, .columns = 32}};
  const std::vector<BufferGroup> groups = megatron::muon_buffers(s, tensors, 0);
  REQUIRE(groups.size() == 3);
  CHECK(buffer_elements(s, groups[0]) == 128);
  CHECK(buffer_elements(s, groups[1]) == 2 * 1024);
  CHECK(groups[2].elements.empty());
  const megatron::StateMemory m = state_memory(job, groups, std::span(tensors).first(1));
  CHECK(m.weights == Bytes(512 + 4096));
  CHECK(m.gradients == Bytes(512 + 8192));
  // 64 elements in fp32 are 256 B: a block of 512 each.
  CHECK(m.optimizer == Bytes(3 * 512 + 2 * 4096));
  // Parameters move into the buffers: 512 + 2048 + 1024 B of them, Adam's first.
  CHECK(megatron::initialisation_peak(job, groups) == Bytes(512 + 512 + 2048 + 1024 + 4096 + 8192));
}

TEST_CASE("the vocabulary is a multiple of 128 rows a rank") {
  Job job = job_of(0);
  job.model.vocab = 50257;
  CHECK(megatron::padded_vocabulary(job) == 50304);
  job.strategy.tp = 8;
  CHECK(megatron::padded_vocabulary(job) == 51200);
}

TEST_CASE("workspaces by GPU") {
  const auto bytes = [](const char* gpu, bool grouped) {
    Job job = job_of(0);
    job.cluster.gpu = find_gpu(gpu, "test");
    if (grouped) {
      job.model.moe.experts = 8;
      job.strategy.megatron.grouped_gemm = true;
    }
    Bytes sum;
    for (const LedgerLine& line : megatron::workspaces(job)) sum += line.bytes;
    return sum.count();
  };
  constexpr int64_t kMiB = 1 << 20;
  CHECK(bytes("h100-80g", false) == 2 * 32 * kMiB + 32 * kMiB + 1024);
  CHECK(bytes("a100-80g", false) == 2 * 8519680 + 4 * kMiB);
  CHECK(bytes("h100-80g", true) == 2 * 32 * kMiB + 5 * (32 * kMiB + 1024));
}

TEST_CASE("what is not modelled is refused by name") {
  Job job = job_of(0);
  job.strategy.zero = 3;
  CHECK_THROWS_WITH_AS(megatron::require_modelled(job), doctest::Contains("ZeRO stage 3"), Error);
  job = job_of(0);
  job.strategy.megatron.recompute_modules = {"core_attn", "layernorm"};
  CHECK_NOTHROW(megatron::require_modelled(job));
  job.strategy.megatron.local = true;
  CHECK_THROWS_WITH_AS(megatron::require_modelled(job), doctest::Contains("layernorm"), Error);
  job = job_of(0);
  job.strategy.megatron.distribute_saved_activations = true;
  CHECK_THROWS_WITH_AS(megatron::require_modelled(job), doctest::Contains("divided over"), Error);
  job = job_of(0);
  job.strategy.megatron.mtp_layers = 1;
  job.strategy.pp = 2;
  job.model.tie_embeddings = true;
  CHECK_THROWS_WITH_AS(megatron::require_modelled(job), doctest::Contains("tied to"), Error);
}

}  // namespace
}  // namespace memplan
