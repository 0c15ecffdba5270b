// Framework `megatron`: what Megatron-core and Transformer Engine hold beside parameters as such.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "memplan/job.h"
#include "memplan/plan.h"
#include "ops/graph.h"
#include "policy/megatron_muon.h"

namespace memplan::megatron {

/// Parameters of one rank that lie in one buffer (core/optimizer/param_layout.py: by dtype and
/// whether they are experts').
struct BufferGroup {
  std::vector<int64_t> elements;  ///< of each tensor, in the order of registration
  int64_t ranks = 1;              ///< over which its optimizer states are divided
  int64_t laid_out = 0;  ///< elements of a buffer of Muon's, by its shard_layout; 0: another buffer
  std::optional<DType> stored = {};  ///< its weights', where not Precision::weight
};

/// Weights, gradients and optimizer states of these parameters, between steps, as the allocator
/// hands them out. A line for each part. `own`: under Muon, what the rank's optimizer updates.
struct StateMemory {
  Bytes weights, gradients, optimizer;
  Bytes made_by_step;  ///< of the optimizer's, what its first step makes: moments
  std::vector<LedgerLine> lines;
};
StateMemory state_memory(const Job& job, std::span<const BufferGroup> groups,
                         std::span<const OptimizerTensor> own = {});

/// A weight of so many elements, as the allocator hands it out.
Bytes weight_block(const Strategy& strategy, int64_t elements);

/// The most that is allocated until the first step, when a rank's buffers are made one after the
/// other: chunk by chunk, experts last. With the distributed optimizer a buffer's parameters move
/// into it only once it and its gradients' are there (core/distributed/param_and_grad_buffer.py).
Bytes initialisation_peak(const Job& job, std::span<const BufferGroup> groups,
                          std::span<const OptimizerTensor> own = {});

/// Elements of a bucket of gradients that are reduced while backward runs; 0: there is one alone.
int64_t bucket_size(const Strategy& strategy, int64_t ranks);
/// Of what the elements of a bucket are a multiple (core/optimizer/param_layout.py).
int64_t bucket_multiple(const Strategy& strategy, int64_t ranks);

/// The same of a buffer of Muon's matrices: training.py cuts a pipeline's first chunk alone.
int64_t muon_bucket(const Strategy& strategy, int64_t stage, size_t chunk);

/// Where has_muon_buffers: of each chunk Adam's buffer, Muon's and Muon's of experts.
std::vector<BufferGroup> muon_buffers(const Strategy& strategy,
                                      std::span<const OptimizerTensor> tensors, int64_t stage);

/// Elements of a group's gradient buffer: with the distributed optimizer each tensor starts at a
/// multiple of 64 and each bucket ends at one of lcm(ranks, 128) (core/optimizer/param_layout.py).
int64_t buffer_elements(const Strategy& strategy, const BufferGroup& group);

/// The vocabulary's rows of all ranks: a multiple of tp (training/vocab_utils.py).
int64_t padded_vocabulary(const Job& job);

/// Workspaces that live in PyTorch's allocator from the first step on, one line each.
std::vector<LedgerLine> workspaces(const Job& job);

/// Refuses, by name, what is not modelled. Throws Error{not_modelled}.
void require_modelled(const Job& job);
std::vector<std::string> not_modelled(const Job& job);
std::vector<std::string> assumptions(const Job& job);

}  // namespace memplan::megatron
