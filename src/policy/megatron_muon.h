// Muon of Megatron-core: which rank updates which matrix, and what an update allocates.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "memplan/job.h"
#include "policy/optimizer_step.h"

namespace memplan::megatron {

/// A trained parameter of one rank. Muon updates matrices that are neither an embedding nor the
/// output layer; Adam all else (core/optimizer/emerging_optimizers.py, _is_nonlinear_or_embedding).
struct OptimizerTensor {
  int64_t elements = 0;
  int64_t rows = 0, columns = 0;  ///< 0 where it is Adam's
  bool expert = false;            ///< of expert-parallel layers
  bool vector = false;            ///< Adam's, without weight decay: a param_group behind the tables
  /// Rows of queries, keys and values that are orthogonalized apart; 0: not a linear_qkv.
  int64_t query_rows = 0, key_rows = 0;
  int64_t query_groups = 0;  ///< over which they alternate

  bool muon() const { return rows > 0; }
  friend bool operator==(const OptimizerTensor&, const OptimizerTensor&) = default;
};

/// Ranks of a pipeline stage that update tensors of the same sizes.
struct OptimizerShare {
  int64_t first = 0, count = 1;  ///< the lowest of them, counted in the stage, and how many
  std::vector<OptimizerTensor> own;
  StepPeak step;  ///< above what is alive between steps
};

/// The shares of a stage with these tensors, in the order of registration; the last rank's last.
/// With --zero 1 the layer-wise distributed optimizer deals whole tensors out to the ranks that
/// hold the same, by size, back and forth, and gathers the updated weights
/// (core/optimizer/layer_wise_optimizer.py, shard_params and allgather_params); else every rank
/// updates all it has.
std::vector<OptimizerShare> optimizer_shares(const Strategy& strategy,
                                             std::span<const OptimizerTensor> tensors);

/// Throws Error{not_modelled} where a job's Muon differs from that.
void require_muon(const Job& job);

}  // namespace memplan::megatron
