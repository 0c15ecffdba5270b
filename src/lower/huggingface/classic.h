// Families older than Llama: one function each, named by its file.
#pragma once

#include "lower/huggingface/module.h"

namespace memplan::hf {

Family gpt2_family();
Family gptj_family();
Family gpt_neox_family();
Family phi_family();
Family opt_family();
Family bloom_family();
Family falcon_family();

/// Of a model without rotary embedding.
inline int64_t no_buffers(const Job&) { return 0; }

/// down(act(up(x))).
Tensor plain_mlp(const Forward& f, const Params& p, const Tensor& x);

/// build_alibi_tensor, the product in the dtype of `slopes`, the result [b·heads, 1, s] in `dtype`.
Tensor build_alibi(const Forward& f, DType slopes, DType dtype);
/// residual + dropout(x)
Tensor dropout_add(const Tensor& x, const Tensor& residual, double p);

}  // namespace memplan::hf
