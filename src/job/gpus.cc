// The table of GPUs.
//
// `memory` is what the CUDA driver reports to a process (cudaMemGetInfo), read from PyTorch's own
// text: `_CudaDeviceProperties(… total_memory=…MB)` or "GPU 0 has a total capacity of … GiB" (two
// decimals, rounded down to a MiB here). Drivers differ by up to 0.3 GiB; the reading of the newest
// driver that was found stands, as newer ones keep more for themselves. "not a reading" says where
// none was found.
//
// Rates are those of the vendor's data sheet or architecture white paper. Tensor-core figures are
// the dense ones (data sheets often print the sparse ones, which are twice that), with fp32
// accumulation on GeForce. NVLink is half of the "total bandwidth" printed, and 0 for cards whose
// bridge joins two cards at most.
#include <array>
#include <initializer_list>
#include <utility>
#include <vector>

#include "memplan/cluster.h"

namespace memplan {
namespace {

// 16 lanes, one direction, after 128b/130b coding (PCI Express Base Specification 3.0, 4.0, 5.0).
constexpr double kPcie3 = 8e9 * 16 / 8 * 128 / 130;
constexpr double kPcie4 = 2 * kPcie3;
constexpr double kPcie5 = 2 * kPcie4;
constexpr double kPcie6 = 64e9 * 16 / 8;  // PAM4 flits: data sheets print the raw rate

constexpr Bytes mib(int64_t count) { return Bytes(count * kMiB.count()); }

struct Teraflops {
  double fp32, tf32, bf16, fp16, fp8;
};
struct Bandwidth {
  double memory_gb;  // GB/s
  double nvlink_gb;  // GB/s, one direction
  double host;       // bytes/s, one direction
};
struct Compute {
  int major, minor;
};

GpuSpec gpu(const char* name, const char* description, Bytes memory, Bandwidth bandwidth,
            Teraflops t, Compute compute, const char* source) {
  GpuSpec spec;
  spec.name = name;
  spec.description = description;
  spec.memory = memory;
  spec.memory_bandwidth = bandwidth.memory_gb * 1e9;
  spec.flops_fp32 = t.fp32 * 1e12;
  spec.flops_tf32 = t.tf32 * 1e12;
  spec.flops_bf16 = t.bf16 * 1e12;
  spec.flops_fp16 = t.fp16 * 1e12;
  spec.flops_fp8 = t.fp8 * 1e12;
  spec.nvlink_bandwidth = bandwidth.nvlink_gb * 1e9;
  spec.pcie_bandwidth = bandwidth.host;
  spec.compute_major = compute.major;
  spec.compute_minor = compute.minor;
  spec.cuda = compute.major != 0;
  spec.source = source;
  return spec;
}

// Rates that several products share: one die, one data sheet.
constexpr Teraflops kV100{15.7, 0, 0, 125, 0};
constexpr Teraflops kA100{19.5, 156, 312, 312, 0};
constexpr Teraflops kHopperSxm{66.9, 494.7, 989.4, 989.4,
                               1978.9};  // H100 white paper v1.04, table 2
constexpr Teraflops kBlackwellHgx{75, 1125, 2250, 2250, 4500};
constexpr Teraflops kBlackwellNvl{80, 1250, 2500, 2500, 5000};

std::vector<GpuSpec> make_presets() {
  return {
      // Volta, Turing
      gpu("v100-16g", "NVIDIA Tesla V100 SXM2 16GB", mib(16148), {900, 150, kPcie3}, kV100, {7, 0},
          "V100 data sheet (2020); memory: OOM text, 15.77 GiB"),
      gpu("v100-32g", "NVIDIA Tesla V100 SXM2 32GB", mib(32491), {900, 150, kPcie3}, kV100, {7, 0},
          "V100 data sheet (2020); memory: OOM text, 31.73 GiB"),
      gpu("t4", "NVIDIA Tesla T4 16GB", mib(14909), {320, 0, kPcie3}, {8.1, 0, 0, 65, 0}, {7, 5},
          "T4 data sheet (2019); memory: OOM text, 14.56 GiB with ECC"),

      // Ampere
      gpu("a100-40g", "NVIDIA A100 SXM4 40GB", mib(40437), {1555, 300, kPcie4}, kA100, {8, 0},
          "A100 data sheet (2021); memory: OOM text, 39.49 GiB"),
      gpu("a100-40g-pcie", "NVIDIA A100 PCIe 40GB", mib(40326), {1555, 0, kPcie4}, kA100, {8, 0},
          "A100 data sheet (2021); memory: torch device properties, 40326 MiB"),
      gpu("a100-80g", "NVIDIA A100 SXM4 80GB", mib(81152), {2039, 300, kPcie4}, kA100, {8, 0},
          "A100 data sheet (2021); memory: OOM text, 79.25 GiB"),
      gpu("a100-80g-pcie", "NVIDIA A100 PCIe 80GB", mib(81039), {1935, 0, kPcie4}, kA100, {8, 0},
          "A100 data sheet (2021); memory: OOM text, 79.14 GiB"),
      gpu("a800-80g", "NVIDIA A800 SXM4 80GB", mib(81152), {2039, 200, kPcie4}, kA100, {8, 0},
          "A800 data sheet (2022); memory: the A100's, not a reading"),
      gpu("a10", "NVIDIA A10 24GB", mib(22587), {600, 0, kPcie4}, {31.2, 62.5, 125, 125, 0}, {8, 6},
          "A10 data sheet (2021); memory: OOM text, 22.06 GiB with ECC, the A10G's 22587 MiB"),
      gpu("a10g", "NVIDIA A10G 24GB", mib(22587), {600, 0, kPcie4}, {35, 35, 70, 70, 0}, {8, 6},
          "A10G data sheet (2022); memory: torch device properties, 22587 MiB with ECC"),
      gpu("a40", "NVIDIA A40 48GB", mib(45416), {696, 0, kPcie4}, {37.4, 74.8, 149.7, 149.7, 0},
          {8, 6}, "A40 data sheet (2021); memory: torch device properties, 45416 MiB with ECC"),
      gpu("rtx-a6000", "NVIDIA RTX A6000 48GB", mib(48676), {768, 0, kPcie4},
          {38.7, 77.4, 154.8, 154.8, 0}, {8, 6},
          "RTX A6000 data sheet (2021); memory: torch device properties, 48676 MiB"),
      gpu("rtx-3090", "NVIDIA GeForce RTX 3090 24GB", mib(24125), {936, 0, kPcie4},
          {35.6, 35.6, 71, 71, 0}, {8, 6},
          "GA102 white paper v2 (2021), table 3; memory: OOM text, 23.56 GiB"),

      // Ada
      gpu("l4", "NVIDIA L4 24GB", mib(22558), {300, 0, kPcie4}, {30.3, 60, 121, 121, 242.5}, {8, 9},
          "L4 data sheet (2023), halved where sparse; memory: OOM text, 22.03 GiB with ECC"),
      gpu("l40s", "NVIDIA L40S 48GB", mib(45455), {864, 0, kPcie4}, {91.6, 183, 362, 362, 733},
          {8, 9}, "L40S data sheet (2023); memory: OOM text, 44.39 GiB with ECC"),
      gpu("rtx-4090", "NVIDIA GeForce RTX 4090 24GB", mib(24084), {1008, 0, kPcie4},
          {82.6, 82.6, 165.2, 165.2, 330.3}, {8, 9},
          "Ada white paper v2.1 (2023), appendix A; memory: OOM text, 23.52 GiB"),
      gpu("rtx-6000-ada", "NVIDIA RTX 6000 Ada Generation 48GB", mib(48517), {960, 0, kPcie4},
          {91.1, 182.1, 364.2, 364.2, 728.5}, {8, 9},
          "RTX 6000 Ada data sheet (2023), halved where sparse; memory: OOM text, 47.38 GiB"),

      // Hopper
      gpu("h100-80g", "NVIDIA H100 SXM5 80GB HBM3", mib(81008), {3350, 450, kPcie5}, kHopperSxm,
          {9, 0}, "H100 data sheet and white paper (2023); memory: OOM text, 79.11 GiB"),
      gpu("h100-80g-pcie", "NVIDIA H100 PCIe 80GB HBM2e", mib(81008), {2039, 0, kPcie5},
          {51.2, 378, 756, 756, 1513}, {9, 0},
          "H100 white paper v1.04 (2023), table 2; memory: torch device properties, 81008 MiB"),
      gpu("h100-nvl", "NVIDIA H100 NVL 94GB HBM3", mib(95324), {3938, 0, kPcie5},
          {60, 417.5, 835.5, 835.5, 1670.5}, {9, 0},
          "H100 NVL data sheet (2023), halved where sparse; memory: OOM text, 93.09 GiB"),
      gpu("h200", "NVIDIA H200 SXM5 141GB HBM3e", mib(143156), {4800, 450, kPcie5}, kHopperSxm,
          {9, 0}, "H200 data sheet (2024); memory: torch device properties, 143156 MiB"),
      gpu("h800", "NVIDIA H800 SXM5 80GB HBM3", mib(81008), {3350, 200, kPcie5}, kHopperSxm, {9, 0},
          "H800 data sheet (2023): an H100 with NVLink of 400 GB/s; memory: the H100's, not a "
          "reading"),
      gpu("h20", "NVIDIA H20 SXM5 96GB HBM3", mib(97285), {4000, 450, kPcie5},
          {44, 74, 148, 148, 296}, {9, 0},
          "H20 data sheet (2023); memory: torch device properties, 97285 MiB"),
      gpu("gh200", "NVIDIA GH200 480GB 96GB HBM3", mib(96768), {4000, 450, 450e9}, kHopperSxm,
          {9, 0}, "GH200 data sheet (2023), host link is NVLink-C2C; memory: OOM text, 94.50 GiB"),

      // Blackwell
      gpu("b200", "NVIDIA B200 SXM 180GB HBM3e", mib(182630), {8000, 900, kPcie5}, kBlackwellHgx,
          {10, 0},
          "HGX B200 and DGX B200 data sheets (2025), an eighth, halved where sparse; memory: OOM "
          "text, 178.35 GiB"),
      gpu("b300", "NVIDIA B300 SXM6 AC 288GB HBM3e", mib(274114), {8000, 900, kPcie6},
          kBlackwellHgx, {10, 3},
          "HGX B300 data sheet (2025), an eighth, halved where sparse; memory: OOM text, 267.69 "
          "GiB"),
      // NVLink-C2C carries 900 GB/s in both directions and serves the two GPUs of a superchip.
      gpu("gb200", "NVIDIA GB200 186GB HBM3e", mib(188733), {8000, 900, 225e9}, kBlackwellNvl,
          {10, 0},
          "GB200 NVL72 data sheet (2025), a 72nd, halved where sparse; memory: OOM text, 184.31 "
          "GiB"),
      gpu("gb300", "NVIDIA GB300 288GB HBM3e", mib(283136), {8000, 900, 225e9}, kBlackwellNvl,
          {10, 3},
          "GB300 NVL72 data sheet (2025), a 72nd, halved where sparse; memory: OOM text, 276.50 "
          "GiB"),
      gpu("rtx-5090", "NVIDIA GeForce RTX 5090 32GB", mib(32112), {1792, 0, kPcie5},
          {104.8, 104.8, 209.5, 209.5, 419}, {12, 0},
          "RTX Blackwell white paper v1.1 (2025), appendix A; memory: OOM text, 31.36 GiB"),

      // AMD: `nvlink_bandwidth` is that of seven Infinity Fabric links.
      gpu("mi300x", "AMD Instinct MI300X 192GB HBM3", mib(196592), {5300, 448, kPcie5},
          {163.4, 653.7, 1307.4, 1307.4, 2614.9}, {0, 0},
          "MI300X data sheet (2023); memory: torch device properties, 196592 MiB"),
  };
}

}  // namespace

std::span<const GpuSpec> gpu_presets() {
  static const std::vector<GpuSpec> presets = make_presets();
  return presets;
}

}  // namespace memplan
