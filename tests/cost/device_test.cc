#include "cost/device.h"

#include <doctest/doctest.h>

#include "jobs.h"

namespace memplan {
namespace {

TEST_CASE("a context for each process, a ring for each communicator in use") {
  const DeviceMemory alone = outside_framework(small_job());
  CHECK(alone.context > Bytes(0));
  CHECK(alone.nccl == Bytes(0));
  const DeviceMemory two = outside_framework(on(small_job(), 4, 2));
  const DeviceMemory three = outside_framework(on(small_job(), 8, 2, 2, 2));
  CHECK(two.nccl == 2 * 16 * 12 * kMiB);
  CHECK(three.nccl == 3 * 16 * 12 * kMiB);
  // dp 4 for all else, ep 2, and the 2 owners of each expert
  CHECK(outside_framework(small_moe(4, 2)).nccl == 3 * 16 * 12 * kMiB);
  CHECK(outside_framework(small_moe(4, 4)).nccl == 2 * 16 * 12 * kMiB);
}

TEST_CASE("DataParallel has no communicator; a GPU that is not CUDA's is left out, not guessed") {
  Job job = on(small_job(), 4);
  job.strategy.data_parallel = DataParallelKind::data_parallel;
  CHECK(outside_framework(job).nccl == Bytes(0));
  job.cluster.gpu = find_gpu("mi300x");
  CHECK(outside_framework(job).context == Bytes(0));
  CHECK_FALSE(predict(job).verdict.fits.has_value());
}

}  // namespace
}  // namespace memplan
