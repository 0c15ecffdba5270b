// One training step of PyTorch's eager engine, to the byte.
#pragma once

#include <string>

#include "memplan/job.h"
#include "memplan/units.h"

namespace memplan {

/// The highest moment of a phase: all live tensors, and the operator that reached it as PyTorch
/// names it ("aten.mm.default"), or "start".
struct EagerPeak {
  Bytes bytes;
  std::string at;
};

/// Live tensors of one rank in a step whose optimizer states exist, last micro-batch: sizes as
/// requested, before the allocator rounds them.
struct EagerStep {
  int64_t parameters = 0, trainable = 0;  ///< elements of the whole model
  Bytes weights, gradients, optimizer, buffers, inputs;
  Bytes activations;  ///< at the end of forward: all that is none of the above
  EagerPeak forward, backward, step;
};

/// Frameworks `pytorch` and `huggingface`. Throws Error{bad_input, not_modelled, too_large}.
EagerStep eager_step(const Job& job);

}  // namespace memplan
