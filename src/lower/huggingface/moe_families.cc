// Mixture-of-experts families: which attention, which experts.
#include <algorithm>

#include "lower/huggingface/families.h"
#include "lower/huggingface/moe.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

using Attention = Tensor (*)(Forward&, const Params&, const LayerKind&, const Tensor&);
using Experts = Tensor (*)(Forward&, const Params&, const Tensor&);

Tensor plain_attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x) {
  return decoder_attention(f, p, kind, x);
}

// LlamaDecoderLayer with experts in some layers.
template <Attention attention, Experts experts>
Tensor layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  Tensor residual = hidden;
  Tensor x = row_norm(f, p, f.row.before_attention, hidden);
  x = attention(f, p, kind, x);
  x = add(residual, x);
  residual = x;
  x = row_norm(f, p, f.row.before_mlp, x);
  x = kind.moe ? experts(f, p, x) : gated_mlp(f, p, f.row.mlp, x);
  return add(residual, x);
}

// DeepSeek rotates qk_rope_head_dim elements of a head.
template <bool is_complex>
Tensor latent_embed(Forward& f, const Params& p) {
  const std::string name = base_prefix(f.row, f.model) + std::string(f.row.embedding);
  f.inputs_embeds = adapted_embedding(f, p, name, f.ids);
  prepare_positions(f);
  prepare_masks(f);
  if (is_complex)
    complex_rotary_embedding(f);
  else
    rotary_embedding(f, f.model.mla.qk_rope_head_dim, f.cos, f.sin);
  return f.inputs_embeds;
}

// inv_freq and original_inv_freq, fp32.
int64_t latent_buffers(const Job& job) { return 2 * (job.model.mla.qk_rope_head_dim / 2) * 4; }

// And each router's e_score_correction_bias, in the weights' dtype.
int64_t corrected_buffers(const Job& job) {
  const auto& layers = job.model.moe.layer_is_moe;
  const int64_t routers = std::count(layers.begin(), layers.end(), true);
  return latent_buffers(job) +
         routers * job.model.moe.experts * size_of(job.strategy.precision.weight);
}

constexpr Family kFamilies[] = {
    {"mixtral", layer<plain_attention, mixtral_experts>, decoder_embed, decoder_finish,
     causal_lm_loss, rotary_buffers},
    {"qwen2_moe", layer<plain_attention, qwen_experts>, decoder_embed, decoder_finish,
     causal_lm_loss, rotary_buffers},
    {"qwen3_moe", layer<plain_attention, qwen_experts>, decoder_embed, decoder_finish,
     causal_lm_loss, rotary_buffers},
    {"deepseek_v2", layer<deepseek_v2_attention, deepseek_v2_experts>, latent_embed<true>,
     decoder_finish, causal_lm_loss, latent_buffers},
    {"deepseek_v3", layer<deepseek_v3_attention, deepseek_v3_experts>, latent_embed<false>,
     decoder_finish, causal_lm_loss, corrected_buffers},
    {"gpt_oss", gpt_oss_layer, gpt_oss_embed, gpt_oss_finish, causal_lm_loss, rotary_buffers},
};

}  // namespace

std::span<const Family> moe_families() { return kFamilies; }

}  // namespace memplan::hf
