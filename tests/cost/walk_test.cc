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

}  // namespace
}  // namespace memplan
