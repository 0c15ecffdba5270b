// Phi-3 and Phi-4-mini (transformers/models/phi3/modeling_phi3.py).
#include "lower/huggingface/variants.h"
#include "lower/huggingface/versions.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// x[..., :rotary_dim] and what is left, which may be nothing, joined again.
Tensor turned(const Tensor& rot, const Tensor& pass, const Tensor& cos, const Tensor& sin) {
  Tensor parts[2];
  parts[0] = rotate(rot, cos, sin);
  parts[1] = pass;
  return cat(parts);
}

void apply_partial_rotary(const Rotary& turn, Tensor& q, Tensor& k) {
  const Tensor cos = unsqueeze(turn.cos, 1);
  const Tensor sin = unsqueeze(turn.sin, 1);
  const int64_t width = cos.size(-1);
  const Tensor q_rot = columns(q, 0, width);
  const Tensor q_pass = slice(q, -1, width, q.size(-1) - width);
  const Tensor k_rot = columns(k, 0, width);
  const Tensor k_pass = slice(k, -1, width, k.size(-1) - width);
  Tensor q_embed = turned(q_rot, q_pass, cos, sin);
  Tensor k_embed = turned(k_rot, k_pass, cos, sin);
  q = std::move(q_embed);
  k = std::move(k_embed);
}

Tensor attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x) {
  const int64_t d = f.model.head_dim, wide = f.model.heads * d, narrow = f.model.kv_heads * d;
  const Tensor qkv = linear(f, p, f.row.attention.qkv, x);
  Tensor q = slice(qkv, -1, 0, wide);
  Tensor k = slice(qkv, -1, wide, narrow);
  Tensor v = slice(qkv, -1, wide + narrow, narrow);
  q = split_heads(q, d);
  k = split_heads(k, d);
  v = split_heads(v, d);
  const Rotary turn = layer_rotary(f, v);
  if (turns_part_of_heads(f.job))
    apply_partial_rotary(turn, q, k);
  else
    apply_rotary(turn.cos, turn.sin, q, k);
  return attention_output(f, p, kind, q, k, v);
}

Tensor mlp(const Forward& f, const Params& p, const Tensor& x) {
  Tensor up = linear(f, p, f.row.mlp.gate_up, x);
  Tensor gate;
  {
    const std::vector<Tensor> halves = split(up, {f.model.ffn, f.model.ffn});
    gate = halves[0];
    up = halves[1];
  }
  {
    const Tensor open = called(f, p, "activation_fn", {}, gate, [&](const Tensor& given) {
      return activation(given, f.model.activation);
    });
    up = mul(up, open);
  }
  return linear(f, p, f.row.mlp.down, up);
}

Tensor layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  Tensor residual = hidden;
  Tensor x = row_norm(f, p, f.row.before_attention, hidden);
  x = called_attention(f, p, [&] { return attention(f, p, kind, x); });
  {
    const Tensor dropped = called_dropout(f, p, "resid_attn_dropout", x, f.model.dropout.hidden);
    x = add(residual, dropped);
  }
  residual = x;
  x = row_norm(f, p, f.row.before_mlp, x);
  x = called(f, p, "mlp", {}, x, [&](const Tensor& given) { return mlp(f, p, given); });
  const Tensor dropped = called_dropout(f, p, "resid_mlp_dropout", x, f.model.dropout.hidden);
  return add(residual, dropped);
}

}  // namespace

Family phi3() {
  return named({"phi3", layer, decoder_embed, decoder_finish, causal_lm_loss, rotary_buffers});
}

}  // namespace memplan::hf
