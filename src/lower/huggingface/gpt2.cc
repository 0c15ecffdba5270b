// transformers 5.12.1, models/gpt2/modeling_gpt2.py
#include "lower/huggingface/classic.h"
#include "lower/huggingface/versions.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// A stretch of the module's buffer, whose bytes are those of `causal_buffers`: any counted storage
// stands for it.
Tensor causal_buffer(const Forward& f) {
  const Shape sizes{1, 1, f.sequence, f.sequence};
  return alias(f.ids, sizes, contiguous_strides(sizes));
}

// Softmax runs in the scores' dtype; autocast runs it in fp32.
// Before 5.0 the module's own mask selects, and the scale is a tensor.
Tensor eager_attention(const Forward& f, const Tensor& q, const Tensor& k, const Tensor& v,
                       Tensor& weights) {
  const bool own_mask = applies_causal_buffers(f.job);
  {
    const Tensor kt = transpose(k, -1, -2);
    const Tensor scores = matmul(q, kt);
    if (own_mask) {
      const Tensor scale = make(f.session, "aten.full.default", {}, scores.dtype());
      weights = div(scores, scale);
    } else {
      weights = mul_scalar(scores);
    }
  }
  if (own_mask) {
    const Tensor lowest = make(f.session, "aten.full.default", {}, weights.dtype());
    weights = where(causal_buffer(f), weights, lowest);
  }
  if (f.causal_mask) weights = add(weights, f.causal_mask);
  weights = autocast_softmax(weights);
  weights = to(weights, v.dtype());
  weights = dropout(weights, f.model.dropout.attention);
  const Tensor out = matmul(weights, v);
  return transpose(out, 1, 2);
}

// `weights`: what the layer's underscore holds.
Tensor attention(const Forward& f, const Params& p, const Tensor& x, Tensor& weights) {
  const int64_t h = f.model.hidden, d = f.model.head_dim;
  std::vector<Tensor> parts;
  {
    const Tensor qkv = linear(f, p, f.row.attention.qkv, x);
    parts = split(qkv, {h, h, h});
  }
  const Tensor k = split_heads(parts[1], d);
  const Tensor v = split_heads(parts[2], d);
  const Tensor q = split_heads(parts[0], d);
  parts.clear();
  Tensor out =
      f.job.strategy.attention == AttentionKind::unfused
          ? eager_attention(f, q, k, v, weights)
          : attend(f, q, k, v, {.mask = f.causal_mask, .dropout = f.model.dropout.attention});
  out = reshape(out, x.sizes());
  out = linear(f, p, f.row.attention.o, out);
  return dropout(out, f.model.dropout.hidden);
}

Tensor mlp(const Forward& f, const Params& p, const Tensor& x) {
  return dropout(plain_mlp(f, p, x), f.model.dropout.hidden);
}

Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& given) {
  Tensor residual = given;
  Tensor hidden = row_norm(f, p, f.row.before_attention, given);
  Tensor weights;
  const Tensor attended = attention(f, p, hidden, weights);
  hidden = add(attended, residual);
  residual = hidden;
  hidden = row_norm(f, p, f.row.before_mlp, hidden);
  const Tensor fed = mlp(f, p, hidden);
  return add(residual, fed);
}

Tensor embed(Forward& f, const Params& p) {
  const std::string base = base_prefix(f.row, f.model);
  f.inputs_embeds = adapted_embedding(f, p, base + std::string(f.row.embedding), f.ids);
  prepare_positions(f);
  const Tensor positions =
      embedding(p.get(base + std::string(f.row.positions), "weight"), f.position_ids);
  const Tensor hidden = add(f.inputs_embeds, positions);
  f.locals.push_back(positions);
  // Eager attention has a mask of its own, and padding apart.
  if (!applies_causal_buffers(f.job)) prepare_masks(f);
  return dropout(hidden, f.model.dropout.embedding);
}

}  // namespace

Family gpt2_family() {
  return {"gpt2", layer, embed, decoder_finish, causal_lm_loss, causal_buffers};
}

}  // namespace memplan::hf
