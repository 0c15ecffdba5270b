// gpt_oss (transformers/models/gpt_oss/modeling_gpt_oss.py): attention with sinks, biased experts.
#include "lower/huggingface/moe.h"
#include "memplan/error.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

constexpr bool kWeighInF32 = true;  // unlike LlamaRMSNorm

// _apply_rotary_emb: cos and sin are half as wide as a head.
Tensor rotate_halves(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const int64_t half = x.size(-1) / 2;
  const std::vector<Tensor> parts = split(x, {half, half});
  const auto part = [&](const Tensor& a, const Tensor& b, bool sum) {
    const Tensor left = mul(a, cos);
    const Tensor right = mul(b, sin);
    return sum ? add(left, right) : sub(left, right);
  };
  Tensor halves[2];
  halves[0] = part(parts[0], parts[1], false);
  halves[1] = part(parts[1], parts[0], true);
  return cat(halves);
}

// eager_attention_forward with one more column of logits, the sinks.
Tensor sink_attention(const Tensor& q, const Tensor& key, const Tensor& value, const Tensor& sinks,
                      const AttentionCall& call, Tensor& weights) {
  const int64_t heads = q.size(1), groups = heads / key.size(1);
  const Tensor k = repeat_kv(key, groups);
  const Tensor v = repeat_kv(value, groups);
  {
    const Tensor kt = transpose(k, 2, 3);
    const Tensor scores = matmul(q, kt);
    weights = mul_scalar(scores);
  }
  if (call.mask) weights = add(weights, call.mask);
  Tensor column = view(sinks, {1, heads, 1, 1});
  column = expand(column, {q.size(0), heads, q.size(2), 1});
  const Tensor parts[] = {weights, column};
  Tensor logits = cat(parts);
  {
    const Tensor highest = max_last(logits).values;
    logits = sub(logits, highest);
  }
  const Tensor probabilities = softmax(logits);
  const Tensor scores = slice(probabilities, -1, 0, weights.size(-1));
  {
    const Tensor dropped = dropout(scores, call.dropout);
    weights = to(dropped, v.dtype());
  }
  Tensor out = matmul(weights, v);
  out = transpose(out, 1, 2);
  return contiguous(out);
}

Tensor attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x,
                 Tensor& weights) {
  const AttentionRow& row = f.row.attention;
  const auto project = [&](std::string_view name) {
    const Tensor y = linear(f, p, name, x);
    return split_heads(y, f.model.head_dim);
  };
  Tensor q = project(row.q);
  Tensor k = project(row.k);
  const Tensor v = project(row.v);
  {
    const Tensor cos = unsqueeze(f.cos, 1), sin = unsqueeze(f.sin, 1);
    Tensor turned = rotate_halves(q, cos, sin);
    k = rotate_halves(k, cos, sin);
    q = std::move(turned);
  }
  const Tensor out = sink_attention(
      q, k, v, p.find(row.sinks),
      {.mask = kind.sliding ? f.sliding_mask : f.causal_mask, .dropout = f.model.dropout.attention},
      weights);
  const Tensor joined = view(out, {x.size(0), x.size(1), out.size(2) * out.size(3)});
  return linear(f, p, row.o, joined);
}

Tensor mlp(const Forward& f, const Params& p, const Tensor& input) {
  const Tensor x = reshape(input, {input.elements() / input.size(-1), input.size(-1)});
  Tensor logits;
  Routing routing;
  {
    logits = aten::linear(x, p.get(f.row.moe.router, "weight"), p.get(f.row.moe.router, "bias"));
    const Selected top = topk(logits, f.model.moe.experts_per_token);
    routing = {top.indices, softmax(top.values)};
  }
  const Tensor out = routed_experts(f, p, x, routing);
  return reshape(out, input.sizes());
}

}  // namespace

Tensor gpt_oss_layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  Tensor residual = hidden;
  Tensor x = rms_norm(hidden, p.get(f.row.before_attention, "weight"), kWeighInF32);
  Tensor weights;  // the layer holds them until its MLP returns
  x = attention(f, p, kind, x, weights);
  x = add(residual, x);
  residual = x;
  x = rms_norm(x, p.get(f.row.before_mlp, "weight"), kWeighInF32);
  x = mlp(f, p, x);
  weights.reset();
  return add(residual, x);
}

Tensor gpt_oss_embed(Forward& f, const Params& p) {
  if (f.job.strategy.attention != AttentionKind::unfused)
    throw Error(ErrorKind::not_modelled, "--attention",
                "gpt_oss has sinks in its attention, which transformers computes eagerly",
                "use --attention eager");
  const std::string name = base_prefix(f.row, f.model) + std::string(f.row.embedding);
  f.inputs_embeds = adapted_embedding(f, p, name, f.ids);
  prepare_positions(f);
  prepare_masks(f);
  Session& s = f.session;
  NoGrad off(s);
  const int64_t length = f.sequence, half = f.model.head_dim / 2;
  const Tensor positions = make(s, "aten._to_copy.default", {1, 1, length}, DType::f32);
  const Tensor product = make(s, "aten.bmm.default", {1, half, length}, DType::f32);
  const Tensor freqs = transpose(product, 1, 2);
  Tensor cos = pointwise("aten.cos.default", {&freqs}, DType::f32);
  cos = mul_scalar(cos);
  Tensor sin = pointwise("aten.sin.default", {&freqs}, DType::f32);
  sin = mul_scalar(sin);
  f.cos = to(cos, f.inputs_embeds.dtype());
  f.sin = to(sin, f.inputs_embeds.dtype());
  return f.inputs_embeds;
}

Tensor gpt_oss_finish(Forward& f, const Params& head, const Tensor& hidden) {
  const std::string name = base_prefix(f.row, f.model) + std::string(f.row.final_norm);
  return rms_norm(hidden, head.get(name, "weight"), kWeighInF32);
}

}  // namespace memplan::hf
