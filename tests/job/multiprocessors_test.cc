#include "job/multiprocessors.h"

#include <doctest/doctest.h>

#include "memplan/error.h"

namespace memplan {
namespace {

TEST_CASE("every CUDA preset has its multiprocessors") {
  for (const GpuSpec& gpu : gpu_presets())
    if (gpu.cuda) CHECK_MESSAGE(multiprocessors(gpu) >= 40, gpu.name);
  const auto count = [](const char* name) { return multiprocessors(find_gpu(name)); };
  CHECK(count("a100-80g") == 108);
  CHECK(count("a10") == 72);
  CHECK(count("a10g") == 80);
  CHECK(count("h100-80g-pcie") == 114);
  CHECK(count("h100-nvl") == 132);
  CHECK(count("h200") == 132);
  CHECK(count("h20") == 78);
  CHECK_THROWS_AS(multiprocessors(GpuSpec{}), Error);
}

}  // namespace
}  // namespace memplan
