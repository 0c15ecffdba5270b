// Megatron-FSDP: buckets of parameters, and what a rank keeps of them between steps
// (core/distributed/fsdp/src/megatron_fsdp/param_and_grad_buffer.py, 0.16 to 0.18).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "memplan/job.h"
#include "policy/megatron.h"

namespace memplan::megatron {

/// A parameter as a bucket places it: `width` elements for each index of its first dimension.
struct FsdpParam {
  int64_t elements = 0, width = 1;
};

/// Parameters that are gathered and reduced in one buffer, cut into `ranks` equal shards.
struct FsdpBucket {
  std::vector<FsdpParam> params;
  int64_t ranks = 1;
  bool of_layer = false;
};

/// Elements of a bucket: parameters start where their first dimension can be cut, remainders and
/// parameters of fewer elements fill gaps, and the end is a multiple of ranks times the widest
/// index (build_data_parallel_buffer_index).
int64_t bucket_elements(const FsdpBucket& bucket);

/// A layer's parameters; or, without experts, those outside of layers.
struct FsdpUnit {
  std::vector<FsdpParam> dense, expert;
};

/// Buckets in the order in which they are gathered ahead: of what is outside of layers, which
/// --overlap-grad-reduce cuts where one is full (training/training.py), then of each layer one and,
/// where it has experts, one more.
std::vector<FsdpBucket> fsdp_buckets(const Strategy& strategy, const FsdpUnit& root,
                                     std::span<const FsdpUnit> layers, int64_t dense_ranks,
                                     int64_t expert_ranks);

/// Elements that are gathered ahead of their use, and that wait as whole gradients before the
/// oldest are waited for.
struct FsdpLimits {
  int64_t gathered_ahead, reducing;
};
FsdpLimits fsdp_limits(const Strategy& strategy, std::span<const FsdpBucket> buckets,
                       int64_t layers);

/// A bucket whole, as it is gathered, and its gradients as they are communicated; nothing where one
/// rank has it all, whose buffers are used as they are.
Bytes gathered_bytes(const Strategy& strategy, const FsdpBucket& bucket);
Bytes reduced_bytes(const FsdpBucket& bucket);

/// Between steps: shards of weights, fp32 master weights, fp32 gradients and optimizer states.
StateMemory fsdp_state_memory(const Job& job, std::span<const FsdpBucket> buckets);

/// Weights that are whole between steps: the optimizer's step ends in gathering the first bucket
/// and those ahead of it (core/optimizer/distrib_optimizer.py). --log-params-norm lets go of them
/// (training/utils.py, calc_params_l2_norm).
Bytes fsdp_whole_between_steps(const Strategy& strategy, std::span<const FsdpBucket> buckets,
                               int64_t layers);

/// The most until the first step: the model is whole when its buckets are made one by one, or with
/// --init-model-with-meta-device no more of it than the bucket that is made.
Bytes fsdp_initialisation_peak(const Job& job, std::span<const FsdpBucket> buckets);

/// Refuses, by name, what is not modelled of it. Throws Error{not_modelled}.
void require_fsdp_modelled(const Job& job);

}  // namespace memplan::megatron
