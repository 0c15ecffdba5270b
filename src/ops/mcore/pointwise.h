// Megatron-core's fused kernels: what torch.compile makes of its jit_fuser functions, and rotary
// embedding (core/fusions/*.py, core/models/common/embeddings/rope_utils.py, 0.18).
#pragma once

#include <string_view>

#include "ops/aten/tensor.h"

namespace memplan::mcore {

using aten::Tensor;

/// residual + dropout(x + bias): keeps the mask of the dropout alone. `bias` may be empty.
Tensor bias_dropout_add(const Tensor& x, const Tensor& bias, const Tensor& residual, double p);

/// act(x + bias), or of a gated one act(x₁ + bias₁)·(x₂ + bias₂), in one kernel that keeps x.
Tensor bias_activation(const Tensor& x, const Tensor& bias, bool gated);

/// The same, operator by operator. `name`: ModelSpec::activation.
Tensor plain_activation(const Tensor& x, const Tensor& bias, bool gated, std::string_view name);

/// Rotary embedding of [s, b, heads, d]: one kernel, or operator by operator of the first `width`.
Tensor fused_rope(const Tensor& x);
Tensor plain_rope(const Tensor& x, int64_t width);

/// fused_apply_mla_rope_for_kv: kv [s, b, heads, dn + dv] and the rotary part [s, b, 1, dr] that
/// all heads share -> keys [s, b, heads, dn + dr] and values [s, b, heads, dv], tensors of their
/// own.
struct KeysValues {
  Tensor keys, values;
};
KeysValues fused_latent_rope(const Tensor& kv, const Tensor& rotary, int64_t nope, int64_t v_dim);
/// The same, operator by operator.
KeysValues plain_latent_rope(const Tensor& kv, const Tensor& rotary, int64_t nope, int64_t v_dim);

/// x with a loss hung onto it, whose gradient is made when x's comes by (MTPLossAutoScaler,
/// MoEAuxLossAutoScaler).
Tensor with_loss(const Tensor& x, const Tensor& loss);

}  // namespace memplan::mcore
