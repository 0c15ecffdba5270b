#include "policy/megatron_fsdp.h"

#include <doctest/doctest.h>

#include "memplan/error.h"

namespace memplan::megatron {
namespace {

Job fsdp_job() {
  Job job;
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  s.optimizer = OptimizerKind::adam;
  s.zero = 3;
  s.precision = parse_precision("mixed-bf16", "test");
  s.precision.gradient = DType::f32;
  s.megatron.fsdp = true;
  s.megatron.gradient_accumulation_fusion = false;
  return job;
}

// Rows of 512: 10 of a matrix and 2 of 512 elements each, 12 rows in all; of 5 ranks 15.
TEST_CASE("a bucket ends at a multiple of its ranks times the widest row") {
  const std::vector<FsdpParam> params{{512, 1}, {10 * 512, 512}, {512, 1}};
  CHECK(bucket_elements({params, 4}) == 12 * 512);
  CHECK(bucket_elements({params, 5}) == 15 * 512);
  CHECK(bucket_elements({{}, 5}) == 0);
}

// Rows of 8: 8, then 20 whose third row has 4 elements. A 3 fills what is left of that row. 12,
// whose remainder is 4, takes it first and needs one row more; the 3 comes last then, at 40.
TEST_CASE("remainders share a row, small parameters fill gaps") {
  CHECK(bucket_elements({{{8, 8}, {20, 1}}, 1}) == 8 + 24);
  CHECK(bucket_elements({{{8, 8}, {20, 1}, {3, 1}}, 1}) == 8 + 24);
  CHECK(bucket_elements({{{8, 8}, {20, 1}, {12, 1}}, 1}) == 8 + 32);
  CHECK(bucket_elements({{{8, 8}, {20, 1}, {12, 1}, {3, 1}}, 1}) == 48);
}

// 6 and 4 elements a row: neither divides the other, so that rows are of 12.
TEST_CASE("rows that do not divide each other are cut at their least common multiple") {
  CHECK(bucket_elements({{{24, 6}, {20, 4}}, 2}) == 48);
  CHECK(bucket_elements({{{24, 6}, {20, 4}}, 3}) == 72);
}

TEST_CASE("what is outside of layers is cut under --overlap-grad-reduce alone") {
  Job job = fsdp_job();
  const FsdpUnit root{{{100, 1}, {50, 1}, {10, 1}}, {}};
  const std::vector<FsdpUnit> layers{{{{30, 1}}, {}}, {{{30, 1}}, {{40, 1}, {40, 1}}}};
  const auto sizes = [&] {
    std::vector<size_t> out;
    for (const FsdpBucket& b : fsdp_buckets(job.strategy, root, layers, 4, 2))
      out.push_back(b.params.size());
    return out;
  };
  CHECK(sizes() == std::vector<size_t>{3, 1, 1, 2});
  job.strategy.megatron.overlap_grad_reduce = true;
  CHECK(sizes() == std::vector<size_t>{3, 1, 1, 2});  // 160 of 40 million
  job.strategy.megatron.bucket_elements = 100;
  CHECK(sizes() == std::vector<size_t>{1, 2, 1, 1, 2});
  const auto buckets = fsdp_buckets(job.strategy, root, layers, 4, 2);
  CHECK(buckets[0].ranks == 4);
  CHECK(buckets[4].ranks == 2);
  CHECK_FALSE(buckets[1].of_layer);
  CHECK(buckets[2].of_layer);
}

// 4096 elements over 4 ranks: 1024 each of 2 + 4 + 4 + 8 bytes.
TEST_CASE("a rank's shards") {
  const Job job = fsdp_job();
  const std::vector<FsdpBucket> buckets{{{{4096, 1024}}, 4, true}};
  const StateMemory m = fsdp_state_memory(job, buckets);
  CHECK(m.weights == Bytes(1024 * 2));
  CHECK(m.gradients == Bytes(1024 * 4));
  CHECK(m.optimizer == Bytes(1024 * 12));
  CHECK(m.made_by_step == Bytes(1024 * 8));
  CHECK(gathered_bytes(job.strategy, buckets[0]) == Bytes(4096 * 2));
  CHECK(reduced_bytes(buckets[0]) == Bytes(4096 * 4));
  // The model, its shard and master's, the bucket whole: 8192 + 2048 + 4096 + 8192.
  CHECK(fsdp_initialisation_peak(job, buckets) == Bytes(22528));
}

// Two such buckets: whole, 2 · 8192 at first; by the meta device the second has the first's shards
// of 2048 + 4096 before it.
TEST_CASE("on the meta device the model is never whole") {
  Job job = fsdp_job();
  const std::vector<FsdpBucket> buckets(2, FsdpBucket{{{4096, 1024}}, 4, true});
  CHECK(fsdp_initialisation_peak(job, buckets) == Bytes(2 * 8192 + 6144 + 8192));
  job.strategy.megatron.meta_device = true;
  CHECK(fsdp_initialisation_peak(job, buckets) == Bytes(6144 + 8192 + 6144 + 8192));
}

TEST_CASE("one rank has no buffers to gather into or to reduce from") {
  const FsdpBucket alone{{{4096, 1024}}, 1, true};
  CHECK(gathered_bytes(fsdp_job().strategy, alone) == Bytes(0));
  CHECK(reduced_bytes(alone) == Bytes(0));
}

TEST_CASE("limits: a billion elements, or twice a layer where that is more") {
  Job job = fsdp_job();
  std::vector<FsdpBucket> buckets{{{{4096, 1024}}, 4, true}};
  CHECK(fsdp_limits(job.strategy, buckets, 1).reducing == 1'000'000'000);
  CHECK(fsdp_limits(job.strategy, buckets, 1).gathered_ahead == 500'000'000);
  buckets[0].params[0].elements = 600'000'000;
  CHECK(fsdp_limits(job.strategy, buckets, 1).gathered_ahead == 600'000'000);
  CHECK(fsdp_limits(job.strategy, buckets, 2).gathered_ahead == 500'000'000);
  job.strategy.megatron.communication_unit = 1000;
  CHECK(fsdp_limits(job.strategy, buckets, 1).gathered_ahead == 500);
}

// Three buckets of one row each, padded to 4 rows. With 4096 elements ahead the second is enough.
TEST_CASE("a step ends in gathering") {
  Job job = fsdp_job();
  const std::vector<FsdpBucket> buckets(3, {{{1024, 1024}}, 1024 / 256, true});
  const auto whole = [&](int64_t unit) {
    job.strategy.megatron.communication_unit = unit;
    return fsdp_whole_between_steps(job.strategy, buckets, 3);
  };
  const Bytes one = gathered_bytes(job.strategy, buckets[0]);
  CHECK(one == Bytes(4096 * 2));  // padded to 4 rows
  CHECK(whole(0) == 3 * one);
  CHECK(whole(2 * 4096) == 2 * one);
  job.strategy.megatron.log_params_norm = true;
  CHECK(whole(0) == Bytes(0));
}

TEST_CASE("what is refused") {
  const auto refused = [](auto change) {
    Job job = fsdp_job();
    change(job);
    CHECK_THROWS_AS(require_fsdp_modelled(job), Error);
  };
  CHECK_NOTHROW(require_fsdp_modelled(fsdp_job()));
  refused([](Job& j) { j.strategy.zero = 1; });
  refused([](Job& j) { j.strategy.pp = 2; });
  refused([](Job& j) { j.strategy.recompute = Recompute::full; });
  refused([](Job& j) { j.strategy.megatron.gradient_accumulation_fusion = true; });
  refused([](Job& j) { j.strategy.megatron.optimizer_instances = 2; });
  refused([](Job& j) { j.strategy.precision.gradient = DType::bf16; });
  refused([](Job& j) { j.strategy.megatron.mtp_layers = 1; });
  refused([](Job& j) { j.strategy.optimizer = OptimizerKind::muon; });
}

}  // namespace
}  // namespace memplan::megatron
