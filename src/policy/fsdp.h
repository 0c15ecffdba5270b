// What PyTorch's two ways to shard parameters have in common: FSDP1, FullyShardedDataParallel, and
// FSDP2, fully_shard.
#pragma once

#include <cstdint>

#include "memplan/job.h"

namespace memplan::fsdp {

/// Whether the job's parameters are cut by one of them.
bool shards_parameters(const Strategy& strategy);

/// Whether each of them is cut by itself: FSDP2.
bool cuts_each(const Strategy& strategy);

/// Whether each group of them is one flat parameter: FSDP1.
bool flattens(const Strategy& strategy);

/// GPUs over which each copy of the model is cut; several copies are HSDP.
int64_t shards(const Strategy& strategy);

/// Shards, their gradients and the optimizer live on the host.
bool offloads(const Strategy& strategy);

/// dtype of the unsharded parameter, and so of the operators that read it.
DType compute_dtype(const Strategy& strategy, DType stored);

/// Refuses, by name, what is modelled of neither. Throws Error{not_modelled, bad_input}.
void require_modelled(const Job& job);

}  // namespace memplan::fsdp
