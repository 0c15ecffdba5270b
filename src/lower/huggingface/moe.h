// Parts of the families with experts (transformers 5.12).
#pragma once

#include "lower/huggingface/module.h"

namespace memplan::hf {

/// What a router decides: [tokens, experts per token].
struct Routing {
  Tensor indices, weights;
};

/// integrations/moe.py, grouped_mm_experts_forward: what the models run unless told otherwise.
/// x [tokens, hidden]. Each expert's rows follow one another, so no size depends on the routing.
Tensor routed_experts(const Forward& f, const Params& p, const Tensor& x, const Routing& routing);
/// GptOssExperts._apply_gate on [rows, 2·width], gate and up interleaved.
Tensor clamped_gate(const Tensor& gate_up);

/// Sparse blocks: [b, s, hidden] -> the same.
Tensor mixtral_experts(Forward& f, const Params& p, const Tensor& x);
Tensor qwen_experts(Forward& f, const Params& p, const Tensor& x);
Tensor deepseek_v2_experts(Forward& f, const Params& p, const Tensor& x);
Tensor deepseek_v3_experts(Forward& f, const Params& p, const Tensor& x);

/// DeepseekV2Attention, DeepseekV3Attention: they differ in how they rotate.
Tensor deepseek_v2_attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x);
Tensor deepseek_v3_attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x);
/// DeepseekV2RotaryEmbedding: complex numbers, in f.cos as float32 [1, s, d/2, 2].
void complex_rotary_embedding(Forward& f);

Tensor gpt_oss_layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden);
Tensor gpt_oss_embed(Forward& f, const Params& p);
Tensor gpt_oss_finish(Forward& f, const Params& head, const Tensor& hidden);

}  // namespace memplan::hf
