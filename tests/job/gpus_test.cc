#include <doctest/doctest.h>

#include <set>
#include <string>

#include "memplan/cluster.h"

namespace memplan {
namespace {

// The size in GB that ends a description or comes before its memory kind.
double printed_size(const std::string& description) {
  const size_t unit = description.rfind("GB");
  const size_t start = description.find_last_not_of("0123456789", unit - 1) + 1;
  return std::stod(description.substr(start, unit - start));
}

TEST_SUITE("gpus") {
  TEST_CASE("every row has a name of its own and a source") {
    std::set<std::string> names;
    for (const GpuSpec& gpu : gpu_presets()) {
      CAPTURE(gpu.name);
      CHECK(names.insert(gpu.name).second);
      CHECK_FALSE(gpu.source.empty());
      CHECK(gpu.cuda == (gpu.compute_major > 0));
    }
  }

  TEST_CASE("the driver reports a little less than the size printed on the card") {
    for (const GpuSpec& gpu : gpu_presets()) {
      CAPTURE(gpu.name);
      const double share = gpu.memory.gib() / printed_size(gpu.description);
      CHECK(share < 1.0);
      CHECK(share > 0.9);
    }
  }

  TEST_CASE("rates stand in the ratios of their hardware") {
    for (const GpuSpec& gpu : gpu_presets()) {
      CAPTURE(gpu.name);
      CHECK(gpu.memory_bandwidth >= 300e9);
      CHECK(gpu.memory_bandwidth <= 8e12);
      CHECK(gpu.flops_fp16 > gpu.flops_fp32);
      // A dense figure beside a sparse one would be off by two.
      if (gpu.flops_bf16 > 0) CHECK(gpu.flops_bf16 == gpu.flops_fp16);
      if (gpu.flops_fp8 > 0)
        CHECK(gpu.flops_fp8 == doctest::Approx(2 * gpu.flops_bf16).epsilon(0.02));
      if (gpu.flops_tf32 > 0)
        CHECK(2 * gpu.flops_tf32 == doctest::Approx(gpu.flops_bf16).epsilon(0.02));
      // Volta and Turing have no bf16, Ampere no fp8.
      if (gpu.cuda) CHECK((gpu.flops_bf16 > 0) == (gpu.compute_major >= 8));
      if (gpu.cuda)
        CHECK((gpu.flops_fp8 > 0) == (gpu.compute_major * 10 + gpu.compute_minor >= 89));
    }
  }

  TEST_CASE("PCI Express: 16 lanes of 16 GT/s, 128 bits in 130") {
    CHECK(find_gpu("a100-80g").pcie_bandwidth == doctest::Approx(31.5e9).epsilon(0.001));
    CHECK(find_gpu("h100-80g").pcie_bandwidth == doctest::Approx(63.0e9).epsilon(0.001));
  }

  TEST_CASE("NVLink in one direction: links of 25 GB/s, 50 GB/s on Blackwell") {
    CHECK(find_gpu("v100-32g").nvlink_bandwidth == 6 * 25e9);
    CHECK(find_gpu("a100-80g").nvlink_bandwidth == 12 * 25e9);
    CHECK(find_gpu("h100-80g").nvlink_bandwidth == 18 * 25e9);
    CHECK(find_gpu("h800").nvlink_bandwidth == 8 * 25e9);
    CHECK(find_gpu("b200").nvlink_bandwidth == 18 * 50e9);
    CHECK(find_gpu("rtx-4090").nvlink_bandwidth == 0);
  }
}

}  // namespace
}  // namespace memplan
