// transformers 5.12.1, models/gptj/modeling_gptj.py
#include "lower/huggingface/classic.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// torch.repeat_interleave(x[:, :, None, :], 2, 3)
Tensor twice(const Tensor& x) {
  const int64_t s = x.size(1), half = x.size(2);
  Tensor wide = unsqueeze(x, 2);
  wide = unsqueeze(wide, -1);
  wide = expand(wide, {1, s, 1, half, 2});
  wide = clone(wide);
  return view(wide, {1, s, 1, 2 * half});
}

Tensor rotate_every_two(const Tensor& x) {
  const int64_t half = x.size(-1) / 2;
  const Tensor even = slice(x, -1, 0, half);
  const Tensor odd = slice(x, -1, 0, half);
  Tensor pairs;
  {
    const Tensor minus = neg(odd);
    const Tensor parts[] = {unsqueeze(minus, -1), unsqueeze(even, -1)};
    pairs = cat(parts);
  }
  return view(pairs, x.sizes());
}

Tensor apply_rotary_pairs(const Tensor& x, const Tensor& half_sin, const Tensor& half_cos) {
  const Tensor sin = twice(half_sin);
  const Tensor cos = twice(half_cos);
  const Tensor straight = mul(x, cos);
  Tensor turned;
  {
    const Tensor rotated = rotate_every_two(x);
    turned = mul(rotated, sin);
  }
  return add(straight, turned);
}

// GPTJAttention._attn: scores are fp32, under autocast the products are not.
Tensor eager_attention(const Forward& f, const Tensor& query, const Tensor& key,
                       const Tensor& value, Tensor& weights) {
  const Tensor q = to(query, DType::f32);
  const Tensor k = to(key, DType::f32);
  {
    const Tensor kt = transpose(k, -1, -2);
    weights = matmul(q, kt);
  }
  weights = div_scalar(weights);
  if (f.causal_mask) weights = add(weights, f.causal_mask);
  weights = autocast_softmax(weights);
  weights = to(weights, value.dtype());
  weights = dropout(weights, f.model.dropout.attention);
  return matmul(weights, value);
}

Tensor attention(const Forward& f, const Params& p, const Tensor& x, Tensor& weights) {
  const AttentionRow& row = f.row.attention;
  Session& s = f.session;
  const int64_t d = f.model.head_dim, width = rotary_width(f.model);
  const Shape heads{f.batch, f.sequence, f.model.heads, d};
  Tensor q = linear(f, p, row.q, x);
  Tensor k = linear(f, p, row.k, x);
  Tensor v = linear(f, p, row.v, x);
  q = view(q, heads);
  k = view(k, heads);
  v = view(v, heads);
  v = permute(v, {0, 2, 1, 3});
  const Tensor table =
      make(s, "aten.repeat.default", {1, f.model.max_positions, width}, DType::f32);
  const Tensor ids = make(s, "aten.repeat.default", {1, f.sequence, width}, DType::i64);
  Tensor sincos = make(s, "aten.gather.default", {1, f.sequence, width}, DType::f32);
  sincos = to(sincos, k.dtype());
  const std::vector<Tensor> parts = split(sincos, {width / 2, width / 2});
  Tensor k_turned = columns(k, 0, width);
  const Tensor k_pass = columns(k, width, d - width);
  Tensor q_turned = columns(q, 0, width);
  const Tensor q_pass = columns(q, width, d - width);
  k_turned = apply_rotary_pairs(k_turned, parts[0], parts[1]);
  q_turned = apply_rotary_pairs(q_turned, parts[0], parts[1]);
  const Tensor k_parts[] = {k_turned, k_pass};
  k = cat(k_parts);
  const Tensor q_parts[] = {q_turned, q_pass};
  q = cat(q_parts);
  k = permute(k, {0, 2, 1, 3});
  q = permute(q, {0, 2, 1, 3});
  Tensor out;
  if (f.job.strategy.attention == AttentionKind::flash) {
    const Tensor fq = permute(q, {0, 2, 1, 3}), fk = permute(k, {0, 2, 1, 3});
    v = permute(v, {0, 2, 1, 3});
    out = flash_attention_2(fq, fk, v, f.model.dropout.attention);
  } else {
    out = eager_attention(f, q, k, v, weights);
    out = permute(out, {0, 2, 1, 3});
    out = contiguous(out);
  }
  out = reshape(out, {f.batch, f.sequence, f.model.heads * d});
  out = linear(f, p, row.o, out);
  return dropout(out, f.model.dropout.hidden);
}

Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& residual) {
  const Tensor hidden = row_norm(f, p, f.row.before_attention, residual);
  Tensor weights;
  const Tensor attended = attention(f, p, hidden, weights);
  Tensor fed = plain_mlp(f, p, hidden);
  fed = dropout(fed, f.model.dropout.hidden);
  const Tensor sum = add(attended, fed);
  Tensor out = add(sum, residual);
  // `outputs` of GPTJModel.forward; another thread's, where a checkpoint runs again, soon goes.
  if (!f.session.recomputing) f.returned.assign(1, weights);
  return out;
}

Tensor embed(Forward& f, const Params& p) {
  const std::string name = base_prefix(f.row, f.model) + std::string(f.row.embedding);
  f.inputs_embeds = adapted_embedding(f, p, name, f.ids);
  prepare_positions(f);
  prepare_eager_masks(f);
  return dropout(f.inputs_embeds, f.model.dropout.embedding);
}

// Every layer's embed_positions.
int64_t buffers(const Job& job) {
  const int64_t table = checked_mul(job.model.max_positions, rotary_width(job.model));
  return checked_mul(job.model.layers, checked_mul(table, size_of(DType::f32)));
}

}  // namespace

Family gptj_family() { return {"gptj", layer, embed, decoder_finish, causal_lm_loss, buffers}; }

}  // namespace memplan::hf
