// PyTorch's fully_shard (FSDP2): how parameters are cut, and what its collectives read and write.
// Source: torch/distributed/fsdp/_fully_shard, torch 2.14.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "memplan/job.h"
#include "memplan/units.h"
#include "policy/fsdp.h"

namespace memplan::fsdp2 {

/// Refuses, by name, what of FSDP2 is not modelled, as fsdp::require_modelled does. Throws
/// Error{not_modelled, bad_input}.
void require_modelled(const Job& job);
std::vector<std::string> assumptions(const Job& job);
std::vector<std::string> not_modelled(const Job& job);

/// torchtitan 0.2.2, apply_fsdp: the embedding is a group, norm and head are another, and none is
/// left for the model itself. Fsdp::root_after_forward is that of norm and head.
bool groups_ends(const Strategy& strategy);
/// torchtitan before that: its last layer is not resharded after forward.
bool keeps_last_layer(const Strategy& strategy);

/// The ranks of a DeviceMesh, a table of int32 on the host: seen where the CPU's tensors are
/// counted.
Bytes mesh_bytes(const Job& job);

/// A parameter as fully_shard finds it: `dims` sizes of `shape` count.
struct Parameter {
  std::array<int64_t, 4> shape = {};
  int dims = 0;
  DType stored = DType::f32;
  bool trained = true;
  int64_t elements() const;
};

/// One rank's share of a parameter, which is cut over its first dimension like torch.chunk: shares
/// of ceil(rows / world), the last ones shorter or empty. Storages are as large as the longest.
struct Shard {
  std::array<int64_t, 4> shape = {};
  int64_t padded = 0;  ///< elements of the storage
};
Shard shard(const Parameter& parameter, int64_t world, int64_t rank);

/// Whether ranks hold shares of different sizes.
bool cut_unevenly(const Parameter& parameter, int64_t world);

/// Bytes of one parameter's tensors.
struct ParamBuffers {
  int64_t sharded = 0;      ///< its storage on one rank
  int64_t cast = 0;         ///< the same in the compute dtype; 0 where that is the stored one
  int64_t unsharded = 0;    ///< whole, in the compute dtype, padded
  int64_t resharded = 0;    ///< over the GPUs of after_forward, where those are some of them
  int64_t accumulated = 0;  ///< trained: its whole gradient in the reduce dtype
};

/// Bytes of the tensors of one group of parameters, which are gathered and reduced together: those
/// of a layer, or those in no layer.
struct Buffers {
  std::vector<ParamBuffers> params;
  int64_t gathered = 0;            ///< all_gather_output
  int64_t reduce_input = 0;        ///< reduce_scatter_input: padded gradients, reduce dtype
  int64_t reduced = 0;             ///< reduce_output: this rank's part of them
  int64_t gradients = 0;           ///< the same in the parameters' own dtype
  bool casts_gradients = false;    ///< these are two tensors
  bool keeps_reduced = false;      ///< `reduced` lives on until backward ends
  bool accumulates_apart = false;  ///< gradients of several micro-batches, by Fsdp::reduces_each
  bool whole_after_forward = false;
};

/// `after_forward`: as Fsdp::after_forward.
Buffers buffers(std::span<const Parameter> group, const Strategy& strategy,
                std::optional<int64_t> after_forward);

}  // namespace memplan::fsdp2
