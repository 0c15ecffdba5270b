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
  bool expert = false;            ///< of expert-parallel layers, more than one rank's
  bool vector = false;            ///< Adam's, without weight decay: a param_group behind the tables
  /// Rows of queries, keys and values that are orthogonalized apart; 0: not a linear_qkv.
  int64_t query_rows = 0, key_rows = 0;
  int64_t query_groups = 0;  ///< over which they alternate
  int64_t chunk = 0;         ///< of the stage's model chunks

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
/// updates all it has. With a precomputed layout a share has what lies in its shards of Muon's
/// buffers, and Adam's are another optimizer's. `stage`: the pipeline's.
/// Throws Error{bad_input} where an expert has what is no matrix, which that layout cannot place.
std::vector<OptimizerShare> optimizer_shares(const Strategy& strategy,
                                             std::span<const OptimizerTensor> tensors,
                                             int64_t stage = 0);

/// Whether matrices lie in buffers of their own, cut between tensors, and Adam's parameters in
/// those of the usual distributed optimizer: Megatron-core's default from 0.18 on.
bool has_muon_buffers(const Strategy& strategy);

/// Ranks that hold the same parameters, dense ones or experts.
int64_t muon_ranks(const Strategy& strategy, bool experts);

/// A buffer of Muon's matrices: `ranks` shards of one size, in each some tensors whole.
struct ShardLayout {
  int64_t elements = 0;
  std::vector<std::vector<size_t>> shards;  ///< indices of tensors, ascending
};
/// layer_wise_optimizer.py (0.18), _compute_per_buffer_param_layout: buckets of at least `bucket`
/// elements from the last tensor on (0: a single one), in each the largest tensor first to the
/// shard that has least. `multiple`: of a bucket's elements.
ShardLayout shard_layout(std::span<const int64_t> elements, int64_t ranks, int64_t bucket,
                         int64_t multiple);

/// Throws Error{not_modelled} where a job's Muon differs from that.
void require_muon(const Job& job);

}  // namespace memplan::megatron
