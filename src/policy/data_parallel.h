// torch.nn.DataParallel: parameters and gradients travel between GPUs in flat chunks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "memplan/dtype.h"
#include "memplan/units.h"

namespace memplan {

struct FlatTensor {
  int64_t bytes = 0;
  DType dtype = DType::f32;
};

struct FlatChunk {
  int64_t bytes = 0;
  bool copied = false;  ///< several tensors, copied behind one another; one alone is viewed
};

/// The tensors in the chunks that torch's _take_tensors makes of them (torch/_utils.py): of one
/// dtype each, and of up to 10 MiB (buffer_size, torch/nn/parallel/comm.py) or a single tensor.
std::vector<FlatChunk> flat_chunks(std::span<const FlatTensor> tensors);

}  // namespace memplan
