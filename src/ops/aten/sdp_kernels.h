// Which kernel scaled_dot_product_attention runs on a CUDA GPU, and what that kernel's backward
// takes beside the gradients.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/aten/ops.h"

namespace memplan::aten {

enum class SdpKernel : uint8_t { flash, efficient, cudnn, math, flex };

/// Whether torch tries cuDNN's kernel before the others on this GPU (major · 10 + minor).
bool prefers_cudnn(Version torch, int compute_capability);

/// The first kernel of torch's order that can run on these inputs and this GPU
/// (aten/src/ATen/native/transformers/cuda/sdp_utils.cpp, select_sdp_backend).
/// q, k, v: [b, heads, s, d], as autocast leaves them.
SdpKernel sdp_kernel(const Tensor& q, const Tensor& k, const Tensor& v, const SdpaOptions& options);

/// Whether the CPU's fused kernel can run on them (transformers/sdp_utils_cpp.cpp).
bool cpu_kernel_runs(const Tensor& q, const Tensor& k, const Tensor& v, const SdpaOptions& options);

/// Temporaries of the kernel's backward, alive together with dq, dk and dv.
std::vector<Tensor> sdp_backward_scratch(SdpKernel kernel, const Tensor& q, const Tensor& k,
                                         const Tensor& v);

}  // namespace memplan::aten
