// What an optimizer step of PyTorch allocates for a while, operator by operator.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "memplan/job.h"
#include "memplan/strategy.h"
#include "memplan/units.h"

namespace memplan {

/// A trained parameter, or equal ones of equal layers. Neighbours of equal `count` and `run` are
/// layers: the parameters of one layer follow one another, then those of the next layer.
struct StepParam {
  std::array<int64_t, 4> shape = {};
  int dims = 0;
  DType dtype = DType::f32;
  int64_t count = 1;
  int run = 0;         ///< tells apart neighbouring stretches of as many layers
  int group = 0;       ///< of the optimizer's param_groups: each is stepped by itself
  bool hidden = true;  ///< false: an embedding or output head, which Muon and GaLore leave alone
};

struct StepPeak {
  Bytes transient;                ///< above what is alive when the step begins
  std::string_view at = "start";  ///< the operator, as PyTorch prints it
};

/// The highest moment of clip_grad_norm_ (where the strategy clips) and of `optimizer.step()`, once
/// states exist. Weights, gradients and states are alive when it begins. `params`: trained ones
/// alone, in the optimizer's order. The first step has the same peak above its states: they are
/// made before the first operator, or, parameter by parameter, before its own.
///
/// What kernels allocate inside one operator is left out, but for _foreach_norm's sums on CUDA.
/// GaLore: the step that renews its projectors. torchao: its compiled kernels are taken to keep
/// nothing. What updates in backward has nothing left to do; see update_in_backward.
/// Throws Error{bad_input} as optimizer_setup; Error{not_modelled} for bitsandbytes on the CPU.
StepPeak optimizer_step(const Strategy& strategy, std::span<const StepParam> params,
                        Backend backend);

/// Where the strategy updates in backward: the highest moment of one parameter's update, above its
/// weight, gradient and states; the gradient is gone when it ends. Throws as optimizer_step.
StepPeak update_in_backward(const Strategy& strategy, const StepParam& param, Backend backend);

}  // namespace memplan
