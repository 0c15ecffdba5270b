// OLMo 2: norms follow attention and MLP (transformers/models/olmo2/modeling_olmo2.py).
#include <string>

#include "lower/huggingface/variants.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

Tensor norm(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const Tensor weight = p.get(name, "weight");
  return called(f, p, name, {weight}, x,
                [&](const Tensor& given) { return rms_norm(given, weight, true); });
}

// cos and sin are fp32: the turned queries and keys are narrowed again.
void apply_wide_rotary(const Forward& f, Tensor& q, Tensor& k) {
  Tensor q_embed = q, k_embed = k;
  apply_rotary(f.cos, f.sin, q_embed, k_embed);
  Tensor narrow_q = to(q_embed, q.dtype());
  Tensor narrow_k = to(k_embed, k.dtype());
  q = std::move(narrow_q);
  k = std::move(narrow_k);
}

Tensor attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x) {
  const AttentionRow& row = f.row.attention;
  Tensor q, k;
  {
    const Tensor projected = linear(f, p, row.q, x);
    q = norm(f, p, row.q_norm, projected);
  }
  {
    const Tensor projected = linear(f, p, row.k, x);
    k = norm(f, p, row.k_norm, projected);
  }
  Tensor v = linear(f, p, row.v, x);
  q = split_heads(q, f.model.head_dim);
  k = split_heads(k, f.model.head_dim);
  v = split_heads(v, f.model.head_dim);
  apply_wide_rotary(f, q, k);
  return attention_output(f, p, kind, q, k, v);
}

Tensor layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  Tensor residual = hidden;
  Tensor x = called_attention(f, p, [&] { return attention(f, p, kind, hidden); });
  x = norm(f, p, f.row.after_attention, x);
  x = add(residual, x);
  residual = x;
  x = called_mlp(f, p, x);
  x = norm(f, p, f.row.after_mlp, x);
  return add(residual, x);
}

Tensor embed(Forward& f, const Params& p) {
  f.inputs_embeds = embed_tokens(f, p);
  prepare_positions(f);
  prepare_masks(f);
  rotary_embedding(f, rotary_width(f.model), f.cos, f.sin, DType::f32);
  return f.inputs_embeds;
}

Tensor finish(Forward& f, const Params& head, const Tensor& hidden) {
  return norm(f, head, base_prefix(f.row, f.model) + std::string(f.row.final_norm), hidden);
}

}  // namespace

Family olmo2() { return named({"olmo2", layer, embed, finish, causal_lm_loss, rotary_buffers}); }

}  // namespace memplan::hf
