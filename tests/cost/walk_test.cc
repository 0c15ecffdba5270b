#include "cost/walk.h"

#include <doctest/doctest.h>

#include "jobs.h"

namespace memplan {
namespace {

Bytes activations(const Job& job, size_t stage) {
  return predict(job).ranks[stage].memory.activations;
}

TEST_CASE("interleaved chunks in flight add up to whole layers") {
  const Bytes layer = activations(on(small_job(8), 8, 1, 8), 1);  // one layer, one micro-batch
  Job job = on(small_job(8), 4, 1, 4, 8);
  job.strategy.vpp = 2;
  // 2(p-r-1) + (v-1)p + 1 chunks of one layer: 9 on stage 1, 7 on stage 2.
  CHECK(activations(job, 1) == layer * 9);
  CHECK(activations(job, 2) == layer * 7);
}

TEST_CASE("chunks that keep different bytes are counted at their fullest moment") {
  const Bytes layer = activations(on(small_job(8), 8, 1, 8), 1);
  Job job = on(small_job(8), 2, 1, 2, 4);
  job.strategy.vpp = 2;
  job.strategy.trainable = {Trainable::Kind::last_layers, 4};
  // Stage 0 has layers 0 and 1, frozen, and 4 and 5. Chunks go 0011 0011 forward and 1100 backward:
  // of five in flight at most two are of the chunk that keeps something.
  CHECK(activations(job, 0) == layer * 2 * 2);
}

}  // namespace
}  // namespace memplan
