// PyTorch's FullyShardedDataParallel (FSDP1): flat parameters, how they are padded and cut.
// Source: torch/distributed/fsdp/_flat_param.py, torch 2.14.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "memplan/job.h"

namespace memplan::fsdp1 {

/// Refuses, by name, what of FSDP1 is not modelled, as fsdp::require_modelled does. Throws
/// Error{not_modelled, bad_input}.
void require_modelled(const Job& job);
std::vector<std::string> assumptions(const Job& job);
std::vector<std::string> not_modelled(const Job& job);

/// Whether flat parameters are whole on every GPU: NO_SHARD, which a world of one becomes too
/// (_init_utils.py _init_core_state).
bool is_whole(const Strategy& strategy);

/// The parameters of one unit behind one another. Sizes are elements.
struct FlatParameter {
  std::vector<int64_t> offset;    ///< of each parameter
  std::vector<int64_t> elements;  ///< of each parameter
  std::vector<int64_t> padding;   ///< tensors between and behind them: of use_orig_params
  int64_t total = 0;              ///< with these
  int64_t shard = 0;              ///< of one rank, padded
  int64_t padded = 0;             ///< of all ranks: what a gather writes

  /// Elements of a parameter in a rank's shard.
  int64_t within(size_t param, int64_t rank) const;
};

/// `compute`: dtype of the unsharded parameter, by whose size addresses are aligned.
FlatParameter flatten(std::span<const int64_t> elements, const Strategy& strategy, DType compute);

}  // namespace memplan::fsdp1
