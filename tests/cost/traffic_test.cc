#include "cost/traffic.h"

#include <doctest/doctest.h>

#include "jobs.h"

namespace memplan {
namespace {

std::vector<Traffic> of(const Plan& plan, std::string_view group,
                        std::string_view collective = {}) {
  std::vector<Traffic> rows;
  for (const Traffic& row : plan.communication)
    if (row.group == group && (collective.empty() || row.collective == collective))
      rows.push_back(row);
  return rows;
}

Bytes sent(const std::vector<Traffic>& rows) {
  Bytes sum;
  for (const Traffic& row : rows) sum += row.bytes_sent_per_gpu;
  return sum;
}

TEST_CASE("data parallelism sends 2Ψ, 2Ψ, 2Ψ and 3Ψ elements, each times (n-1)/n") {
  // ZeRO, section 7. Ψ of a bare size; 16-bit gradients and weights.
  constexpr int64_t kPsi = 1'000'000;
  const int64_t expected[] = {2, 2, 2, 3};
  for (int zero = 0; zero <= 3; ++zero) {
    Job job = bare_job(kPsi, 4);
    job.strategy.zero = zero;
    CHECK(sent(of(predict(job), "data_parallel")) == Bytes(expected[zero] * kPsi * 2 * 3 / 4));
  }
}

TEST_CASE("a model's blocks add up to the same, whatever the stage") {
  for (const int zero : {0, 1, 2, 3}) {
    Job job = on(small_job(), 4);
    job.strategy.zero = zero;
    const Plan plan = predict(job);
    const int64_t times = zero == 3 ? 3 : 2;
    CHECK(sent(of(plan, "data_parallel")) == Bytes(times * plan.parameters * 2 * 3 / 4));
  }
}

TEST_CASE("tensor parallelism: 4 all-reduces a layer and micro-batch, 6 with full recomputation") {
  // Megatron-LM, section 3: two forward, two backward, of b·s·h elements each.
  for (const Recompute recompute : {Recompute::none, Recompute::full}) {
    Job job = on(small_job(), 2, 2, 1, 3);
    job.strategy.recompute = recompute;
    int64_t layer_reduces = 0;
    for (const Traffic& row : of(predict(job), "tensor_parallel", "all_reduce")) {
      if (row.what != "layers") continue;
      CHECK(row.bytes == Bytes(128 * 64 * 2));
      layer_reduces += row.count;
    }
    CHECK(layer_reduces == (recompute == Recompute::full ? 6 : 4) * 4 * 3);
  }
}

TEST_CASE(
    "sequence parallelism gathers and scatters what the all-reduces moved, and gathers twice "
    "more") {
  Job job = on(small_job(), 2, 2);
  const Bytes reduced = [&] {
    Bytes sum;
    for (const Traffic& row : of(predict(job), "tensor_parallel"))
      if (row.what == "layers") sum += row.bytes_sent_per_gpu;
    return sum;
  }();
  job.strategy.sequence_parallel = true;
  Bytes scattered;
  for (const Traffic& row : of(predict(job), "tensor_parallel"))
    if (row.what == "layers") scattered += row.bytes_sent_per_gpu;
  // 4 all-reduces = 8 halves; 2 gathers + 2 scatters forward, as many backward, 2 gathers again.
  CHECK(scattered.count() * 8 == reduced.count() * 10);
}

TEST_CASE(
    "pipeline: one message a boundary, direction and micro-batch; tied embeddings once a step") {
  const Plan plan = predict(on(small_job(8), 4, 1, 4, 8));
  const auto rows = of(plan, "pipeline_parallel");
  REQUIRE(rows.size() == 2);
  for (const Traffic& row : rows) CHECK(row.bytes == Bytes(128 * 64 * 2));
  Job first = on(small_job(8), 2, 1, 2, 8);
  const auto tied = of(predict(first), "embedding");
  REQUIRE(tied.size() == 1);
  CHECK(tied[0].bytes == Bytes(1000 * 64 * 2));
  CHECK(tied[0].count == 1);
}

TEST_CASE("backward stops where nothing below is trained") {
  Job job = on(small_job(), 2, 1, 2, 3);
  job.strategy.trainable = {Trainable::Kind::last_layers, 1};
  const auto rows = of(predict(job), "pipeline_parallel");
  REQUIRE(rows.size() == 1);  // stage 0 waits for no gradient
  CHECK(rows[0].phase == "forward");

  Job divided = on(small_job(), 2);
  divided.strategy.zero = 3;
  divided.strategy.trainable = {Trainable::Kind::last_layers, 1};
  int64_t forward = 0, backward = 0;  // gathers of layers
  for (const Traffic& row : of(predict(divided), "data_parallel", "all_gather"))
    if (row.what == "layer") (row.phase == "forward" ? forward : backward) += row.count;
  CHECK(forward == 4);
  CHECK(backward == 1);
}

TEST_CASE(
    "HSDP: gathers and reductions within a copy, an all-reduce of the shares between copies") {
  Job job;
  job.cluster.gpus_per_node = 4;
  Strategy& s = job.strategy;
  s.framework = Framework::fsdp2;
  s.dp = s.global_batch = 8;
  s.fsdp.replicas = 2;
  s.fsdp.param_dtype = DType::bf16;
  s.fsdp.reduce_dtype = DType::f32;
  const std::vector<Traffic> rows = bare_traffic(job, 1000);
  REQUIRE(rows.size() == 4);
  for (const Traffic& row : rows) {
    const bool between = row.collective == "all_reduce";
    CHECK(row.ranks == (between ? 2 : 4));
    CHECK(row.crosses_nodes == between);
    const int64_t bytes = between                              ? 1000 / 4 * 4
                          : row.collective == "reduce_scatter" ? 1000 * 4
                                                               : 1000 * 2;
    CHECK(row.bytes == Bytes(bytes));
  }
}

TEST_CASE("BF16_Optimizer all-reduces bf16 gradients, whatever accumulates them") {
  Job job;
  Strategy& s = job.strategy;
  s.framework = Framework::deepspeed;
  s.precision.gradient = DType::f32;
  s.dp = s.global_batch = 8;
  s.zero = 1;
  const std::vector<Traffic> rows = bare_traffic(job, 1000);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].collective == "all_reduce");
  CHECK(rows[1].collective == "all_gather");
  for (const Traffic& row : rows) CHECK(row.bytes == Bytes(2000));
}

TEST_CASE("one GPU communicates nothing") { CHECK(predict(small_job()).communication.empty()); }

}  // namespace
}  // namespace memplan
