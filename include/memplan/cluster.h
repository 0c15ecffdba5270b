// GPUs, nodes and clusters: published facts of hardware.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "memplan/units.h"

namespace memplan {

/// One GPU model. Rates are per second and per direction; FLOP/s are dense, without sparsity.
struct GpuSpec {
  std::string name;             ///< "h100-80g"
  std::string description;      ///< "NVIDIA H100 SXM5 80 GB"
  Bytes memory;                 ///< capacity as the driver reports it to a process
  double memory_bandwidth = 0;  ///< bytes/s
  double flops_fp32 = 0, flops_tf32 = 0, flops_bf16 = 0, flops_fp16 = 0,
         flops_fp8 = 0;                      ///< 0: none
  double nvlink_bandwidth = 0;               ///< bytes/s, one direction, all links; 0: none
  double pcie_bandwidth = 0;                 ///< bytes/s, one direction
  int compute_major = 0, compute_minor = 0;  ///< 0: not CUDA
  bool cuda = true;    ///< false: allocator and NCCL figures are refused by name
  std::string source;  ///< of the figures, incl. of `memory`
};

/// GPUs of one machine and its network.
struct NodeSpec {
  std::string name;  ///< "dgx-h100"
  std::string gpu;   ///< name of a GpuSpec
  int gpus = 0;
  double network_bandwidth = 0;  ///< bytes/s, one direction, all NICs of the node together
  Bytes host_memory;
  Bytes nvme;
  std::string source;
};

struct Cluster {
  GpuSpec gpu;
  int64_t gpus = 1;
  int64_t gpus_per_node = 1;
  double network_bandwidth = 0;      ///< bytes/s per node and direction; 0: unknown
  std::optional<Bytes> host_memory;  ///< per node, where known
};

/// The presets, in the order `memplan show gpus` prints them.
std::span<const GpuSpec> gpu_presets();
std::span<const NodeSpec> node_presets();

/// Finds a preset by name; a few usual spellings are understood ("H100", "h100-sxm", "4090").
/// Throws Error{bad_input} naming `where` with the nearest name.
const GpuSpec& find_gpu(std::string_view name, std::string_view where = "--gpu");
const NodeSpec& find_node(std::string_view name, std::string_view where = "--cluster");

/// A GPU of which only the memory is known (--gpu-memory 24GiB). Throws Error{bad_input} where the
/// size is not positive.
GpuSpec custom_gpu(Bytes memory);

/// GPUs of one machine where nobody says: as many as there are, up to the 8 of the usual server.
int64_t usual_gpus_per_node(int64_t gpus);

/// Reads "8xdgx-h100", "dgx-h100", "64xh100-80g". Throws Error{bad_input}.
Cluster parse_cluster(std::string_view text, std::string_view where = "--cluster");

}  // namespace memplan
