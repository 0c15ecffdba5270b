// PyTorch's own RMSNorm.
#pragma once

#include "ops/aten/autograd.h"

namespace memplan::aten {

/// nn.functional.rms_norm over the last dimension, torch 2.14: one kernel on CUDA
/// (_fused_rms_norm), operators in fp32 on the CPU (rms_norm_composite).
Tensor rms_norm(const Tensor& x, const Tensor& weight);

}  // namespace memplan::aten
