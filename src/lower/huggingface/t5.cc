// transformers 5.12.1, models/t5/modeling_t5.py
#include "lower/t5.h"

#include <string>

#include "lower/huggingface/classic.h"
#include "lower/huggingface/encoders.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// Forward::shared: what T5Stack passes from layer to layer, and what the encoder returned.
enum Shared : size_t { kBias, kCrossBias, kEncoded, kCrossMask, kSharedCount };

// T5LayerNorm: the variance alone is made in fp32.
Tensor norm(const Tensor& x, const Tensor& weight) {
  Tensor variance;
  {
    Tensor wide = to(x, DType::f32);
    Tensor square = pow_scalar(wide);
    wide.reset();
    variance = mean_last(square);
  }
  Tensor hidden;
  {
    Tensor scale = add_scalar(variance);
    scale = rsqrt(scale);
    hidden = mul(x, scale);
  }
  if (size_of(weight.dtype()) == 2) hidden = to(hidden, weight.dtype());
  return mul(weight, hidden);
}

// compute_bias and _relative_position_bucket: [1, heads, s, s], heads fastest.
Tensor distance_bias(const Forward& f, const Tensor& table, bool decoder) {
  Session& s = f.session;
  const Shape square{f.sequence, f.sequence};
  const Tensor rows = make(s, "aten.add.Tensor", {f.sequence, 1}, DType::i64);
  const Tensor columns = make(s, "aten.arange.default", {f.sequence}, DType::i64);
  const Tensor distance = make(s, "aten.sub.Tensor", square, DType::i64);
  Tensor buckets;
  {
    Tensor position;
    if (decoder) {
      Tensor zeros = make(s, "aten.zeros_like.default", square, DType::i64);
      const Tensor least = make(s, "aten.minimum.default", square, DType::i64);
      zeros.reset();
      position = neg(least);
    } else {
      {
        const Tensor later = make(s, "aten.gt.Scalar", square, DType::boolean);
        const Tensor numbers = to(later, DType::i64);
        const Tensor half = mul_scalar(numbers);
        buckets = add_scalar(half);
      }
      position = make(s, "aten.abs.default", square, DType::i64);
    }
    const Tensor small = make(s, "aten.lt.Scalar", square, DType::boolean);
    Tensor large;
    {
      Tensor log = to(position, DType::f32);
      log = div_scalar(log);
      log = pointwise("aten.log.default", {&log}, DType::f32);
      log = div_scalar(log);
      log = mul_scalar(log);
      large = to(log, DType::i64);
    }
    large = add_scalar(large);
    {
      const Tensor last = make(s, "aten.full_like.default", square, DType::i64);
      large = pointwise("aten.minimum.default", {&large, &last}, DType::i64);
    }
    const Tensor chosen = where(small, position, large);
    buckets = buckets ? add_in_place(buckets, chosen) : add_scalar(chosen);
  }
  const Tensor values = embedding(table, buckets);
  return unsqueeze(permute(values, {2, 0, 1}), 0);
}

// What attention without a table of its own starts from; under checkpointing it wants a gradient.
Tensor no_bias(const Forward& f, DType dtype) {
  Tensor zeros =
      make(f.session, "aten.zeros.default", {1, f.model.heads, f.sequence, f.sequence}, dtype);
  if (f.job.strategy.recompute == Recompute::full) f.session.require_grad(zeros);
  return zeros;
}

// T5Attention: fills `bias` where it is empty.
Tensor attention(const Forward& f, const Params& p, const LayerKind& kind, bool cross,
                 const Tensor& x, const Tensor& mask, Tensor& bias) {
  const AttentionRow& row = t5_attention_row(cross);
  const int64_t d = f.model.head_dim;
  const auto heads = [&](std::string_view name, const Tensor& from) {
    return split_heads(linear(f, p, name, from), d);
  };
  const Tensor& memory = cross ? f.shared[kEncoded] : x;
  const Tensor q = heads(row.q, x);
  const Tensor k = heads(row.k, memory);
  const Tensor v = heads(row.v, memory);
  Tensor scores;
  {
    const Tensor kt = transpose(k, 3, 2);
    scores = matmul(q, kt);
  }
  if (!bias) {
    const Tensor table =
        cross ? Tensor() : p.find("layer.0.SelfAttention.relative_attention_bias.weight");
    bias = table ? distance_bias(f, table, kind.decoder) : no_bias(f, scores.dtype());
    if (mask) bias = add(bias, mask);
  }
  scores = add_in_place(scores, bias);
  Tensor weights;
  {
    Tensor soft = to(scores, DType::f32);
    soft = softmax(soft);
    weights = to(soft, scores.dtype());
  }
  weights = dropout(weights, f.model.dropout.attention);
  Tensor out = matmul(weights, v);
  out = contiguous(transpose(out, 1, 2));
  out = reshape(out, {f.batch, f.sequence, out.size(2) * out.size(3)});
  return linear(f, p, row.o, out);
}

Tensor feed_forward(const Forward& f, const Params& p, const MlpRow& row, const Tensor& x) {
  const Tensor w = p.get(row.down, "weight");
  Tensor gate, up, inner;
  if (row.gate.empty()) {
    inner = linear(f, p, row.up, x);
    inner = activation(inner, f.model.activation);
  } else {
    gate = linear(f, p, row.gate, x);
    gate = activation(gate, f.model.activation);
    up = linear(f, p, row.up, x);
    inner = mul(gate, up);
  }
  inner = dropout(inner, f.model.dropout.hidden);
  inner = to(inner, w.dtype());
  return linear(f, p, row.down, inner);
}

// x + dropout(inner(norm(x)))
template <typename Inner>
Tensor sublayer(const Forward& f, const Params& p, std::string_view norm_name, const Tensor& x,
                Inner inner) {
  const Tensor normed = norm(x, p.get(norm_name, "weight"));
  const Tensor out = inner(normed);
  const Tensor dropped = dropout(out, f.model.dropout.hidden);
  return add(x, dropped);
}

// "clamp inf values to enable fp16 training"
Tensor clamp_infinities(const Tensor& x) {
  if (x.dtype() != DType::f16) return x;
  Session& s = x.session();
  Tensor limit;
  {
    Tensor infinite;
    {
      const NoGrad off(s);
      const Tensor size = pointwise("aten.abs.default", {&x}, x.dtype());
      infinite = pointwise("aten.eq.Scalar", {&size}, DType::boolean);
    }
    infinite = make(s, "aten.any.default", {}, DType::boolean);
    limit = make(s, "aten.where.self", {}, DType::f32);
  }
  const Tensor minus = neg(limit);
  return clamp(x, true);
}

Tensor layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& given) {
  Tensor bias = f.shared[kBias];
  const Tensor after_self = sublayer(f, p, "layer.0.layer_norm", given, [&](const Tensor& x) {
    return attention(f, p, kind, false, x, f.causal_mask, bias);
  });
  Tensor hidden = clamp_infinities(after_self);
  Tensor after_cross;
  Tensor cross_bias = f.shared[kCrossBias];
  if (kind.decoder) {
    after_cross = sublayer(f, p, "layer.1.layer_norm", hidden, [&](const Tensor& x) {
      return attention(f, p, kind, true, x, f.shared[kCrossMask], cross_bias);
    });
    hidden = clamp_infinities(after_cross);
  }
  const MlpRow& row = t5_mlp_row(f.model, kind.decoder);
  hidden = sublayer(f, p, kind.decoder ? "layer.2.layer_norm" : "layer.1.layer_norm", hidden,
                    [&](const Tensor& x) { return feed_forward(f, p, row, x); });
  hidden = clamp_infinities(hidden);
  f.shared[kBias] = bias;
  f.shared[kCrossBias] = cross_bias;
  return hidden;
}

// Enters a stack: T5Stack.forward up to its first layer.
Tensor enter(Forward& f, const Params& table, const Tensor& ids) {
  f.inputs_embeds = embedding(table.get(t5_prefix(f.row, f.model) + "shared", "weight"), ids);
  return f.inputs_embeds;
}

Tensor embed(Forward& f, const Params& p) {
  require_eager(f);
  if (f.model.head != ModelHead::seq2seq_lm) refuse_head(f);
  f.shared.resize(kSharedCount);
  const Tensor x = enter(f, p, f.ids);
  f.causal_mask = bidirectional_mask(f, x.dtype(), true);
  return dropout(x, f.model.dropout.embedding);
}

Tensor leave(const Forward& f, const Params& p, const char* stack, const Tensor& given) {
  const std::string name = t5_prefix(f.row, f.model) + stack + ".final_layer_norm";
  const Tensor hidden = norm(given, p.get(name, "weight"));
  return dropout(hidden, f.model.dropout.hidden);
}

// _shift_right: the decoder reads the labels one place later.
Tensor shifted_ids(const Forward& f) {
  Session& s = f.session;
  Tensor ids = make(s, "aten.new_zeros.default", f.ids.sizes(), DType::i64);
  { const Tensor moved = make(s, "aten.clone.default", {f.batch, f.sequence - 1}, DType::i64); }
  const Tensor ignored = make(s, "aten.eq.Scalar", f.ids.sizes(), DType::boolean);
  return ids;
}

Tensor bridge(Forward& f, const Params& p, const Params& table, const Tensor& given) {
  const Tensor encoded = leave(f, p, "encoder", given);
  f.release_locals();
  f.shared.resize(kSharedCount);
  f.shared[kEncoded] = encoded;
  f.outputs = {encoded};
  Tensor x = enter(f, table, shifted_ids(f));
  // The hook of enable_input_require_grads sits on the embedding that both stacks share.
  if (f.job.strategy.recompute == Recompute::full && !x.requires_grad()) f.session.require_grad(x);
  {
    Forward decoder = f;  // its own ids have no padding
    decoder.padding.reset();
    prepare_eager_masks(decoder);
    f.causal_mask = decoder.causal_mask;
  }
  f.shared[kCrossMask] = bidirectional_mask(f, x.dtype(), true);
  return dropout(x, f.model.dropout.embedding);
}

Tensor finish(Forward& f, const Params& head, const Tensor& hidden) {
  return leave(f, head, "decoder", hidden);
}

Tensor loss(Forward& f, const Params&, const Params& table, const Tensor& hidden, Tensor& logits) {
  const Tensor weight = table.get(t5_prefix(f.row, f.model) + "shared", "weight");
  // scale_decoder_outputs
  const bool scales = f.model.extra_or("tie_word_embeddings", 1) != 0;
  const Tensor scaled = scales ? mul_scalar(hidden) : hidden;
  logits = aten::linear(scaled, weight, {});
  return masked_loss(f, logits);
}

}  // namespace

Family t5_family() { return {"t5", layer, embed, finish, loss, no_buffers, bridge}; }

}  // namespace memplan::hf
