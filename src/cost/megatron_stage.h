// The parameters of one pipeline stage as a rank of Megatron-core holds them.
#pragma once

#include <vector>

#include "cost/megatron_chunk.h"
#include "lower/program.h"
#include "policy/megatron.h"

namespace memplan::megatron {

/// The stage's trained parameters in the order of registration, by buffer: dense, experts', stored
/// in fp8. Of one chunk alone, or of all.
std::vector<BufferGroup> stage_parameters(const Job& job, const Program& program, int64_t stage,
                                          const Chunk* chunk = nullptr);

/// Bytes of fp8_copies of the weights of a stage's linear layers, and of fp8_scales.
Bytes fp8_copies(const Job& job, const Program& program, int64_t stage);

/// The same parameters as Muon sees them, chunk by chunk.
std::vector<OptimizerTensor> stage_tensors(const Job& job, const Program& program, int64_t stage);

struct Frozen {
  int64_t elements = 0;
  Bytes bytes;
};
Frozen stage_frozen(const Job& job, const Program& program, int64_t stage);

}  // namespace memplan::megatron
