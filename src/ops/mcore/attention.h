// Attention's core as Megatron-core runs it: Transformer Engine's backends, and its own module.
//
// Transformer Engine: pytorch/attention/dot_product_attention/{backends,utils}.py, 2.8.
// Megatron-core: core/transformer/dot_product_attention.py, 0.18. q [s, b, nh, d], k and v
// [s, b, nkv, d]; out [s, b, nh·dv].
#pragma once

#include "ops/mcore/linear.h"

namespace memplan::mcore {

enum class AttentionBackend : uint8_t {
  unfused,  ///< scores, softmax and dropout are tensors (UnfusedDotProductAttention)
  flash,    ///< the flash-attn package, whose tensors are [b, s, heads, d]
  fused,    ///< cuDNN's kernel
  local,    ///< Megatron-core's DotProductAttention
};

struct AttentionOptions {
  AttentionBackend backend = AttentionBackend::fused;
  double dropout = 0;
  bool fused_softmax = true;     ///< one kernel scales, masks and normalises
  bool softmax_in_fp32 = false;  ///< where it is not one kernel
  bool padded = false;           ///< Transformer Engine's mask is "padding", not "causal"
  int64_t exchange = 1;          ///< context-parallel ranks that trade heads for the sequence
};

Tensor core_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                      const AttentionOptions& options, const Group& group);

/// mixed [s, b, nkv·(nh/nkv + 2)·d] as q, k and v: views where they can be.
struct Heads {
  Tensor q, k, v;
};
Heads split_heads(const Tensor& mixed, int64_t heads, int64_t kv_heads, int64_t head_dim);

}  // namespace memplan::mcore
