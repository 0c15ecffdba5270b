// Liger-Kernel's operators (liger_kernel/ops, 0.8.5): custom autograd functions around Triton
// kernels. What they allocate by torch.empty and its like is noted by those names; a Triton kernel
// is no ATen operator and allocates nothing.
#pragma once

#include "ops/aten/ops.h"

namespace memplan::aten::liger {

/// What the kernels ask of the GPU.
struct Device {
  int64_t multiprocessors = 1;  ///< 1 on the CPU
  int compute_major = 0;
};

/// rms_norm.py: keeps x, the weight and a reciprocal in fp32 a row. Its gradient is written over
/// that of the output (`in_place`), the weight's first summed on each multiprocessor in fp32.
Tensor rms_norm(const Tensor& x, const Tensor& weight, const Device& device, bool in_place = true);
/// layer_norm.py: the same with a mean, and a gradient of its own.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Device& device);
/// swiglu.py, geglu.py: act(gate) · up. Keeps both, and writes their gradients over them.
Tensor gated(const Tensor& gate, const Tensor& up);
/// rope.py: turns q and k [b, heads, s, d] where they lie; keeps cos and sin.
void rope(Tensor& q, Tensor& k, const Tensor& cos, const Tensor& sin);
/// cross_entropy.py: logits [N, V], labels [N]. The gradient is written over the logits in forward.
Tensor cross_entropy(const Tensor& logits, const Tensor& labels);
/// fused_linear_cross_entropy.py: x [N, h], weight [V, h], labels [N]. Gradients of x and of a
/// trained weight are made in forward, over one chunk of logits after the other.
Tensor fused_linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& labels,
                                  const Device& device);
/// Its rows of logits at a time: about as many elements as x has, a power of two.
int64_t chunk_rows(int64_t rows, int64_t width, int64_t vocabulary);

}  // namespace memplan::aten::liger
