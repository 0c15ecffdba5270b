// What DeepSpeed's ZeRO-3 puts in the place of PyTorch's operators.
#pragma once

#include "ops/aten/tensor.h"

namespace memplan::aten {

/// nn.functional.linear as zero3_linear_wrap replaces it: keeps the parameters themselves, not
/// views of what is gathered (deepspeed/runtime/zero/linear.py, LinearFunctionForZeroStage3,
/// 0.19.8). `bias` may be empty.
Tensor zero3_linear(const Tensor& x, const Tensor& weight, const Tensor& bias);

}  // namespace memplan::aten
