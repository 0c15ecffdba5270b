// Linear layers of Megatron-core and Transformer Engine over a tensor-parallel group: what their
// autograd functions keep and what their backward allocates.
//
// Transformer Engine: pytorch/module/{linear,layernorm_linear}.py, 2.8; with fp8 or
// Userbuffers 2.16 (csrc/quantizer.cpp, Float8CurrentScalingQuantizer::create_tensor).
// Megatron-core: core/tensor_parallel/{layers,mappings}.py, 0.18. Activations are [s, b, width];
// under sequence parallelism the residual stream holds s/tp of s.
#pragma once

#include "ops/aten/tensor.h"

namespace memplan::mcore {

using aten::Shape;
using aten::Tensor;

/// The tensor-parallel group a module runs in.
struct Group {
  int64_t size = 1;
  bool sequence_parallel = false;
  bool fused_wgrad = false;  ///< --gradient-accumulation-fusion: no weight gradient is a tensor
  /// Transformer Engine's modules, or Megatron-core's own, whose gathered tensors and scores lie
  /// in GlobalMemoryBuffer: they stay, and `buffer` counts the largest.
  bool local = false;
  int64_t* buffer = nullptr;
  /// Transformer Engine's products read fp8, scaled by the tensor's own maximum (current scaling)
  /// or by earlier ones, so that a norm's kernel writes fp8 itself (delayed); before Blackwell the
  /// weight's gradient reads transposed copies.
  bool fp8 = false, fp8_delayed = false, fp8_transposes = false;
  /// --tp-comm-overlap: tensors of the whole sequence lie in buffers that Userbuffers registered,
  /// outside PyTorch's allocator.
  bool overlap = false;

  bool gathers() const { return sequence_parallel && size > 1; }
};

struct Norm {
  Tensor weight, bias;  ///< bias is empty for RMSNorm
};

/// x[s/tp, …] of all ranks, [s, …]; without history.
Tensor all_gather(const Tensor& x, const Group& group);
/// [s, …] -> [s/tp, …]; without history.
Tensor reduce_scatter(const Tensor& x, const Group& group);

/// Transformer Engine's LayerNorm and RMSNorm as a module (TENorm).
Tensor norm(const Tensor& x, const Norm& norm);

/// TELayerNormColumnParallelLinear, or, of the local spec, a norm and a ColumnParallelLinear.
/// `bias` is added; empty where there is none. `normed`, where given, becomes the norm's output of
/// the whole sequence (return_layernorm_output_gathered).
Tensor norm_column_linear(const Tensor& x, const Norm& norm, const Tensor& weight,
                          const Tensor& bias, const Group& group, Tensor* normed = nullptr);
/// ColumnParallelLinear: [s/tp or s, b, in] -> [s, b, out/tp].
Tensor column_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Group& group);
/// RowParallelLinear, whose bias is left to who adds the residual: [s, b, in/tp] -> [s/tp, b, out].
Tensor row_linear(const Tensor& x, const Tensor& weight, const Group& group);

}  // namespace memplan::mcore
