// The table of nodes.
//
// A node is the set of GPUs that NVLink joins. Network bandwidth counts the compute NICs only, one
// direction: a 400 Gb/s NIC carries 50 GB/s. Host memory in DIMMs comes in powers of two, so "2 TB"
// is 2048 GiB; LPDDR5X of Grace and drives are decimal. 0: not part of the product, or not
// published.
#include <vector>

#include "memplan/cluster.h"

namespace memplan {
namespace {

constexpr double gigabits(double rate) { return rate * 1e9 / 8; }
constexpr Bytes gib(int64_t count) { return Bytes(count * kGiB.count()); }
constexpr Bytes gigabytes(int64_t count) { return Bytes(count * 1'000'000'000); }

std::vector<NodeSpec> make_presets() {
  return {
      {"dgx-1-v100", "v100-32g", 8, 4 * gigabits(100), gib(512), Bytes(),
       "DGX-1 with V100 data sheet (2018): 4 EDR InfiniBand, SATA drives"},
      {"dgx-2", "v100-32g", 16, 8 * gigabits(100), gib(1536), gigabytes(8 * 3840),
       "DGX-2 data sheet (2019): 8 EDR InfiniBand, 8 drives of 3.84 TB"},
      {"dgx-a100-40g", "a100-40g", 8, 8 * gigabits(200), gib(1024), gigabytes(4 * 3840),
       "DGX A100 data sheet (2020), 320 GB system: 8 HDR InfiniBand"},
      {"dgx-a100", "a100-80g", 8, 8 * gigabits(200), gib(2048), gigabytes(8 * 3840),
       "DGX A100 data sheet (2021), 640 GB system: 8 HDR InfiniBand"},
      {"dgx-h100", "h100-80g", 8, 8 * gigabits(400), gib(2048), gigabytes(8 * 3840),
       "DGX H100 data sheet (2023): 8 ConnectX-7 of 400 Gb/s"},
      {"dgx-h200", "h200", 8, 8 * gigabits(400), gib(2048), gigabytes(8 * 3840),
       "DGX H200 data sheet (2024): 8 ConnectX-7 of 400 Gb/s"},
      {"dgx-b200", "b200", 8, 8 * gigabits(400), gib(2048), gigabytes(8 * 3840),
       "DGX B200 data sheet (2025): 8 ConnectX-7 of 400 Gb/s"},
      {"dgx-b300", "b300", 8, 8 * gigabits(800), gib(2048), gigabytes(8 * 3840),
       "DGX B300 data sheet (2025): 8 ConnectX-8 of 800 Gb/s"},
      {"hgx-h800", "h800", 8, 8 * gigabits(400), Bytes(), Bytes(),
       "HGX H800 baseboard (2023); NICs of arXiv 2505.09343, section 5: 8 ConnectX-7 of 400 Gb/s; "
       "host memory is the server maker's"},
      {"hgx-h20", "h20", 8, 0, Bytes(), Bytes(),
       "HGX H20 baseboard (2024); network and host memory are the server maker's"},
      // All 72 GPUs are one NVLink domain, so they are one node: what a tray's NICs carry counts
      // only between racks. A job inside one tray is gb200-tray.
      {"gb200-nvl72", "gb200", 72, 72 * gigabits(400), gigabytes(36 * 480), Bytes(),
       "GB200 NVL72 data sheet (2025): 36 Grace of 480 GB, a 400 Gb/s ConnectX-7 a GPU"},
      {"gb200-tray", "gb200", 4, 4 * gigabits(400), gigabytes(2 * 480), Bytes(),
       "GB200 NVL72 data sheet (2025), one compute tray of 18; NVLink beyond the tray is left out"},
      {"gb300-nvl72", "gb300", 72, 72 * gigabits(800), gigabytes(36 * 480), Bytes(),
       "GB300 NVL72 data sheet (2025): 36 Grace of 480 GB, an 800 Gb/s ConnectX-8 a GPU"},
      {"p3dn.24xlarge", "v100-32g", 8, gigabits(100), gib(768), gigabytes(2 * 900),
       "AWS EC2 P3 instance page"},
      {"p4d.24xlarge", "a100-40g", 8, gigabits(400), gib(1152), gigabytes(8 * 1000),
       "AWS EC2 P4 instance page"},
      {"p4de.24xlarge", "a100-80g", 8, gigabits(400), gib(1152), gigabytes(8 * 1000),
       "AWS EC2 P4 instance page"},
      {"p5.48xlarge", "h100-80g", 8, gigabits(3200), gib(2048), gigabytes(8 * 3840),
       "AWS EC2 P5 instance page"},
      {"p5en.48xlarge", "h200", 8, gigabits(3200), gib(2048), gigabytes(8 * 3840),
       "AWS EC2 P5 instance page"},
      {"g5.48xlarge", "a10g", 8, gigabits(100), gib(768), gigabytes(2 * 3800),
       "AWS EC2 G5 instance page; no NVLink"},
      {"g6e.48xlarge", "l40s", 8, gigabits(400), gib(1536), gigabytes(4 * 1900),
       "AWS EC2 G6e instance page; no NVLink"},
  };
}

}  // namespace

std::span<const NodeSpec> node_presets() {
  static const std::vector<NodeSpec> presets = make_presets();
  return presets;
}

}  // namespace memplan
