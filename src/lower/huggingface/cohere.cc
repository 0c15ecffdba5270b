// Cohere's Command R (transformers/models/cohere/modeling_cohere.py).
#include <string>

#include "lower/huggingface/variants.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// CohereLayerNorm: written in Python, in fp32.
Tensor layer_norm_in_python(const Tensor& given, const Tensor& gain) {
  Tensor x = to(given, DType::f32);
  const Tensor mean = mean_last(x);
  Tensor variance;
  {
    Tensor centred = sub(x, mean);
    centred = pow_scalar(centred);
    variance = mean_last(centred);
  }
  {
    const Tensor centred = sub(x, mean);
    Tensor scale = add_scalar(variance);
    scale = rsqrt(scale);
    x = mul(centred, scale);
  }
  {
    const Tensor weight = to(gain, DType::f32);
    x = mul(weight, x);
  }
  return to(x, given.dtype());
}

Tensor norm(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const Tensor weight = p.get(name, "weight");
  return called(f, p, name, {weight}, x,
                [&](const Tensor& given) { return layer_norm_in_python(given, weight); });
}

// torch.stack([-x2, x1], dim=-1).flatten(-2) of every second element.
Tensor rotate_pairs(const Tensor& x) {
  const Tensor even = slice(x, -1, 0, x.size(-1) / 2, 2);
  const Tensor odd = slice(x, -1, 1, x.size(-1) / 2, 2);
  const Tensor minus = neg(odd);
  const Tensor parts[] = {unsqueeze(minus, -1), unsqueeze(even, -1)};
  const Tensor pairs = cat(parts);
  return view(pairs, x.sizes());
}

Tensor turned(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const Tensor straight = mul(x, cos);
  Tensor crossed = rotate_pairs(x);
  crossed = mul(crossed, sin);
  return add(straight, crossed);
}

// In fp32.
void apply_rotary_pairs(const Forward& f, Tensor& q, Tensor& k) {
  const Tensor wide_q = to(q, DType::f32);
  const Tensor wide_k = to(k, DType::f32);
  const Tensor cos = unsqueeze(f.cos, 1);
  const Tensor sin = unsqueeze(f.sin, 1);
  const Tensor q_embed = turned(wide_q, cos, sin);
  const Tensor k_embed = turned(wide_k, cos, sin);
  Tensor narrow_q = to(q_embed, q.dtype());
  Tensor narrow_k = to(k_embed, q.dtype());
  q = std::move(narrow_q);
  k = std::move(narrow_k);
}

Tensor attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x) {
  const AttentionRow& row = f.row.attention;
  const int64_t d = f.model.head_dim;
  const auto project = [&](std::string_view name) {
    const Tensor y = linear(f, p, name, x);
    return view(y, {y.size(0), y.size(1), y.size(2) / d, d});
  };
  Tensor q = project(row.q);
  Tensor k = project(row.k);
  Tensor v = project(row.v);
  if (f.model.qk_norm) {
    q = norm(f, p, row.q_norm, q);
    k = norm(f, p, row.k_norm, k);
  }
  q = transpose(q, 1, 2);
  k = transpose(k, 1, 2);
  v = transpose(v, 1, 2);
  apply_rotary_pairs(f, q, k);
  return attention_output(f, p, kind, q, k, v);
}

Tensor layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  const Tensor normed = norm(f, p, f.row.before_attention, hidden);
  const Tensor attended = called_attention(f, p, [&] { return attention(f, p, kind, normed); });
  const Tensor fed = called_mlp(f, p, normed);
  const Tensor sum = add(hidden, attended);
  return add(sum, fed);
}

Tensor finish(Forward& f, const Params& head, const Tensor& hidden) {
  return norm(f, head, base_prefix(f.row, f.model) + std::string(f.row.final_norm), hidden);
}

Tensor loss(Forward& f, const Params& head, const Params& embedding, const Tensor& hidden,
            Tensor& logits) {
  logits = lm_logits(f, head, embedding, hidden);
  logits = mul_scalar(logits);
  return causal_loss(f, logits);
}

}  // namespace

Family cohere() { return named({"cohere", layer, decoder_embed, finish, loss, rotary_buffers}); }

}  // namespace memplan::hf
