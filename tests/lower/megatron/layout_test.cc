#include "lower/megatron/layout.h"

#include <doctest/doctest.h>

#include "memplan/error.h"

namespace memplan {
namespace {

using megatron::Chunk;
using megatron::stage_chunks;

Job job_of(int64_t layers, int64_t pp, int64_t vpp) {
  Job job;
  job.model.layers = layers;
  job.strategy.framework = Framework::megatron;
  job.strategy.pp = pp;
  job.strategy.vpp = vpp;
  return job;
}

TEST_CASE("layers go round the ranks, chunk after chunk") {
  const Job job = job_of(8, 2, 2);
  CHECK(stage_chunks(job, 0) == std::vector<Chunk>{{{0, 2}, true, false, 0}, {{4, 2}}});
  CHECK(stage_chunks(job, 1) == std::vector<Chunk>{{{2, 2}}, {{6, 2}, false, true, 0}});
}

TEST_CASE("the embedding and the loss can stand in the place of a layer") {
  Job job = job_of(10, 2, 2);
  job.strategy.megatron.account_for_embedding = job.strategy.megatron.account_for_loss = true;
  CHECK(stage_chunks(job, 0)[0].layers == LayerRange{0, 2});
  CHECK(stage_chunks(job, 1)[0].layers == LayerRange{2, 3});
  CHECK(stage_chunks(job, 0)[1].layers == LayerRange{5, 3});
  CHECK(stage_chunks(job, 1)[1].layers == LayerRange{8, 2});
}

TEST_CASE("first and last stages of their own size") {
  Job job = job_of(12, 4, 1);
  job.strategy.megatron.first_stage_layers = job.strategy.megatron.last_stage_layers = 2;
  CHECK(stage_chunks(job, 0)[0].layers == LayerRange{0, 2});
  CHECK(stage_chunks(job, 1)[0].layers == LayerRange{2, 4});
  CHECK(stage_chunks(job, 3)[0].layers == LayerRange{10, 2});
}

TEST_CASE("a layout of one's own") {
  Job job = job_of(5, 2, 2);
  job.strategy.megatron.layout = {"Et", "tt", "t", "tL"};
  CHECK(stage_chunks(job, 0) == std::vector<Chunk>{{{0, 1}, true, false, 0}, {{3, 1}}});
  CHECK(stage_chunks(job, 1) == std::vector<Chunk>{{{1, 2}}, {{4, 1}, false, true, 0}});
  job.strategy.megatron.layout = {"Et", "tt", "t", "L"};
  CHECK_THROWS_AS(stage_chunks(job, 0), Error);
  job.strategy.megatron.layout.pop_back();
  CHECK_THROWS_AS(stage_chunks(job, 0), Error);
}

TEST_CASE("what cannot be cut is said with the nearest number") {
  CHECK_THROWS_WITH_AS(stage_chunks(job_of(10, 4, 1), 0), doctest::Contains("2 more or 2 fewer"),
                       Error);
  CHECK_THROWS_WITH_AS(stage_chunks(job_of(8, 2, 3), 0), doctest::Contains("nearest"), Error);
}

}  // namespace
}  // namespace memplan
