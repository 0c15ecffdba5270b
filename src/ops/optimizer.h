// What an optimizer keeps for one parameter tensor.
#pragma once

#include <span>

#include "memplan/job.h"
#include "memplan/strategy.h"
#include "memplan/units.h"

namespace memplan {

/// Moments of one tensor of this shape as papers count them: master weights, step counters and
/// small tables apart, all of it on the GPU. `dtype`: of moments; fp32 sums for adafactor whatever
/// it is. `rank`: of GaLore.
Bytes optimizer_state(OptimizerKind kind, std::span<const int64_t> shape, DType dtype,
                      int64_t rank = Strategy{}.galore_rank);

/// True where the states cannot be told from a number of parameters alone.
bool state_depends_on_shape(OptimizerKind kind);

/// What `optimizer.state[p]` holds of one parameter, by where it lives.
struct OptimizerState {
  Bytes moments;  ///< on the device
  Bytes
      managed;  ///< CUDA managed memory, outside PyTorch's allocator: comes to the GPU when a step
                ///< touches it and leaves when room is short (bitsandbytes' paged optimizers)
  Bytes scalars;       ///< step counters and norms on the device, a tensor each
  Bytes host_scalars;  ///< step counters that PyTorch keeps on the host
  Bytes device() const { return moments + scalars; }
};

/// An optimizer as it is set up: `impl` never automatic.
struct OptimizerSetup {
  OptimizerKind kind = OptimizerKind::adamw;
  OptimizerImpl impl = OptimizerImpl::foreach_;
  Backend backend = Backend::cuda;  ///< where the parameters are
  int64_t rank = Strategy{}.galore_rank;
};

/// What runs where the strategy says so: torch.optim's choice for an automatic implementation.
/// Throws Error{bad_input} where the optimizer has no such implementation.
OptimizerSetup optimizer_setup(const Strategy& strategy, Backend backend);

/// Muon and GaLore work on hidden matrices alone; Adam's rule serves all else. `hidden`: false for
/// embeddings and output heads. True for any parameter of another optimizer.
bool takes(OptimizerKind kind, size_t dims, bool hidden);

/// States of one parameter after the first step. `dtype`: of the parameter.
OptimizerState pytorch_state(const OptimizerSetup& setup, std::span<const int64_t> shape,
                             DType dtype, bool hidden = true);

/// Device bytes that an optimizer keeps once, whatever the parameters: bitsandbytes' tables of 256
/// fp32 values, one for each 8-bit moment (optim/optimizer.py `fill_qmap`).
Bytes shared_state(OptimizerKind kind);

/// Whether states are made with the optimizer, for frozen parameters too, not by the first step for
/// those that have a gradient.
bool keeps_state_of_frozen(OptimizerKind kind);

/// True where each gradient is spent inside backward and no gradients are left for a step.
bool updates_in_backward(OptimizerKind kind);
bool updates_in_backward(const Strategy& strategy);

}  // namespace memplan
