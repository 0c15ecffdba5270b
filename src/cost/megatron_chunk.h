// One micro-batch through one model chunk of Megatron-core.
#pragma once

#include <string_view>
#include <vector>

#include "lower/megatron/layout.h"
#include "lower/program.h"
#include "ops/aten/tensor.h"

namespace memplan::megatron {

/// The highest moment of a pass, above what was live before the micro-batch came.
struct ChunkPeak {
  Bytes bytes, kept;  ///< all, and of them what autograd keeps
  std::string_view at = "start";
};

struct ChunkMemory {
  Bytes kept;            ///< of a micro-batch between its forward and its backward
  Bytes received;        ///< the tensor that another stage sent; nothing with the embedding
  ChunkPeak forward;     ///< above what is live without this micro-batch
  ChunkPeak backward;    ///< the same, what the micro-batch keeps included
  ChunkPeak evaluation;  ///< of a forward in eval() mode under no_grad
  Bytes deferred;        ///< what a deferred weight gradient of the output layer waits with
  std::vector<aten::KeptTensors> tensors;  ///< of `kept`
  Bytes buffer;                            ///< of GlobalMemoryBuffer: stays
  Bytes attributes;  ///< of the last micro-batch, which modules hold until their next forward
};

/// `job`: padded. `program`: its lowering, for the true number of stages.
ChunkMemory walk_chunk(const Job& job, const Program& program, const Chunk& chunk);

}  // namespace memplan::megatron
