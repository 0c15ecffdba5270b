// Multi-head latent attention (transformers DeepseekV2Attention, DeepseekV3Attention).
#include "lower/huggingface/moe.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

using Rotate = void (*)(const Forward& f, Tensor& q, Tensor& k);

Tensor latent_attention(Forward& f, const Params& p, const LayerKind&, const Tensor& x,
                        Rotate rotary) {
  const MlaSpec& mla = f.model.mla;
  const int64_t b = x.size(0), s = x.size(1), heads = f.model.heads;
  const int64_t nope = mla.qk_nope_head_dim, rope = mla.qk_rope_head_dim;
  const auto norm_of = [&](std::string_view name, const Tensor& y) {
    return rms_norm(y, p.get(name, "weight"));
  };

  Tensor q;
  if (mla.q_lora_rank == 0) {
    q = linear(f, p, "self_attn.q_proj", x);
  } else {
    Tensor low = linear(f, p, "self_attn.q_a_proj", x);
    low = norm_of("self_attn.q_a_layernorm", low);
    q = linear(f, p, "self_attn.q_b_proj", low);
  }
  q = split_heads(q, nope + rope);
  std::vector<Tensor> q_parts = split(q, {nope, rope});

  const Tensor latent = linear(f, p, "self_attn.kv_a_proj_with_mqa", x);
  std::vector<Tensor> k_parts = split(latent, {mla.kv_lora_rank, rope});
  Tensor value;
  {
    Tensor low = norm_of("self_attn.kv_a_layernorm", k_parts[0]);
    low = linear(f, p, "self_attn.kv_b_proj", low);
    const Tensor both = split_heads(low, nope + mla.v_head_dim);
    const std::vector<Tensor> parts = split(both, {nope, mla.v_head_dim});
    k_parts[0] = parts[0];
    value = parts[1];
  }
  k_parts[1] = view(k_parts[1], {b, 1, s, rope});
  rotary(f, q_parts[1], k_parts[1]);
  k_parts[1] = expand(k_parts[1], {b, heads, s, rope});

  const Tensor query = cat(q_parts);
  const Tensor key = cat(k_parts);
  // FlashAttention 2 has one width: values are padded to it and the output is cut.
  const bool pads =
      f.job.strategy.attention == AttentionKind::flash && nope + rope != mla.v_head_dim;
  if (pads) value = pad_last(value, nope + rope);
  Tensor out =
      attend(f, query, key, value, {.mask = f.causal_mask, .dropout = f.model.dropout.attention});
  if (pads) out = slice(out, -1, 0, mla.v_head_dim);
  const Tensor joined = reshape(out, {b, s, heads * mla.v_head_dim});
  return linear(f, p, "self_attn.o_proj", joined);
}

// apply_rotary_emb: pairs of neighbours as complex numbers, in fp32.
Tensor complex_rotate(const Tensor& x, const Tensor& frequencies) {
  Tensor pairs;
  {
    const Tensor wide = to(x, DType::f32);
    const Shape sizes{x.size(0), x.size(1), x.size(2), x.size(3) / 2, 2};
    pairs = reshape(wide, sizes);
  }
  Tensor turned = mul_complex(pairs, frequencies);
  pairs.reset();
  turned = view(turned, x.sizes());
  return to(turned, x.dtype());
}

void complex_rotary(const Forward& f, Tensor& q, Tensor& k) {
  const Tensor frequencies = unsqueeze(f.cos, 1);
  Tensor turned = complex_rotate(q, frequencies);
  k = complex_rotate(k, frequencies);
  q = std::move(turned);
}

// apply_rotary_pos_emb_interleave: the even and the odd elements apart.
Tensor interleaved(const Tensor& even, const Tensor& odd, const Tensor& cos, const Tensor& sin) {
  Tensor halves[2];
  const auto part = [&](const Tensor& a, const Tensor& b, bool sum) {
    const Tensor left = mul(a, cos);
    const Tensor right = mul(b, sin);
    return sum ? add(left, right) : sub(left, right);
  };
  halves[0] = part(even, odd, false);
  halves[1] = part(odd, even, true);
  return cat(halves);
}

void real_rotary(const Forward& f, Tensor& q, Tensor& k) {
  if (f.model.extra_or("rope_interleave", 1) == 0) return apply_rotary(f.cos, f.sin, q, k);
  const int64_t half = f.cos.size(-1) / 2;
  const Tensor cos = unsqueeze(slice(f.cos, -1, 0, half), 1);
  const Tensor sin = unsqueeze(slice(f.sin, -1, 0, half), 1);
  const Tensor q_even = slice(q, -1, 0, half, 2), q_odd = slice(q, -1, 1, half, 2);
  const Tensor k_even = slice(k, -1, 0, half, 2), k_odd = slice(k, -1, 1, half, 2);
  Tensor turned = interleaved(q_even, q_odd, cos, sin);
  k = interleaved(k_even, k_odd, cos, sin);
  q = std::move(turned);
}

}  // namespace

Tensor deepseek_v2_attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x) {
  return latent_attention(f, p, kind, x, complex_rotary);
}

Tensor deepseek_v3_attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x) {
  return latent_attention(f, p, kind, x, real_rotary);
}

void complex_rotary_embedding(Forward& f) {
  Session& s = f.session;
  const int64_t length = f.sequence, half = f.model.mla.qk_rope_head_dim / 2;
  NoGrad off(s);
  const Tensor positions = make(s, "aten._to_copy.default", {1, 1, length}, DType::f32);
  const Tensor product = make(s, "aten.bmm.default", {1, half, length}, DType::f32);
  const Tensor freqs = transpose(product, 1, 2);
  const Shape complex{1, length, half, 2};
  Tensor turns;
  {
    const Tensor ones = pointwise("aten.ones_like.default", {&freqs}, DType::f32);
    turns = make(s, "aten.polar.default", complex, DType::f32);
  }
  f.cos = mul_scalar(turns);
}

}  // namespace memplan::hf
