// Gemma, Gemma 2 and Gemma 3's text model (transformers/models/gemma*/modeling_gemma*.py).
#include <algorithm>
#include <string>

#include "lower/huggingface/variants.h"
#include "lower/huggingface/versions.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// GemmaRMSNorm: (x / rms) · (1 + weight), all in fp32.
Tensor gemma_norm(const Tensor& x, const Tensor& weight) {
  Tensor output;
  {
    const Tensor wide = to(x, DType::f32);
    Tensor scale = pow_scalar(wide);
    scale = mean_last(scale);
    scale = add_scalar(scale);
    scale = rsqrt(scale);
    output = mul(wide, scale);
  }
  {
    Tensor gain = to(weight, DType::f32);
    gain = add_scalar(gain);
    output = mul(output, gain);
  }
  return to(output, x.dtype());
}

Tensor norm(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const Tensor weight = p.get(name, "weight");
  return called(f, p, name, {weight}, x,
                [&](const Tensor& given) { return gemma_norm(given, weight); });
}

Tensor gemma_layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  Tensor residual = hidden;
  Tensor x = norm(f, p, f.row.before_attention, hidden);
  x = called_attention(f, p, [&] { return decoder_attention(f, p, kind, x); });
  x = add(residual, x);
  residual = x;
  x = norm(f, p, f.row.before_mlp, x);
  x = called_mlp(f, p, x);
  return add(residual, x);
}

// A norm before and after each of `attention` and the MLP.
template <typename Attention>
Tensor sandwich_layer(Forward& f, const Params& p, const Tensor& hidden, Attention attention) {
  Tensor residual = hidden;
  Tensor x = norm(f, p, f.row.before_attention, hidden);
  x = called_attention(f, p, [&] { return attention(x); });
  x = norm(f, p, f.row.after_attention, x);
  x = add(residual, x);
  residual = x;
  x = norm(f, p, f.row.before_mlp, x);
  x = called_mlp(f, p, x);
  x = norm(f, p, f.row.after_mlp, x);
  return add(residual, x);
}

Tensor gemma2_layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  const auto cap = static_cast<double>(f.model.extra_or("attn_logit_softcapping", 0));
  return sandwich_layer(f, p, hidden,
                        [&](const Tensor& x) { return decoder_attention(f, p, kind, x, cap); });
}

// Queries and keys are normalized as heads; sliding layers turn them by other angles. The cap of
// the config is not handed on.
Tensor gemma3_attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x) {
  const AttentionRow& row = f.row.attention;
  const auto project = [&](std::string_view name) {
    const Tensor y = linear(f, p, name, x);
    return split_heads(y, f.model.head_dim);
  };
  Tensor q = project(row.q);
  Tensor k = project(row.k);
  const Tensor v = project(row.v);
  q = norm(f, p, row.q_norm, q);
  k = norm(f, p, row.k_norm, k);
  if (kind.sliding)
    apply_rotary(f.local_cos, f.local_sin, q, k);
  else
    apply_rotary(f.cos, f.sin, q, k);
  return attention_output(f, p, kind, q, k, v);
}

Tensor gemma3_layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  return sandwich_layer(f, p, hidden,
                        [&](const Tensor& x) { return gemma3_attention(f, p, kind, x); });
}

// GemmaTextScaledWordEmbedding: the scale is a buffer in the weights' dtype. It is part of the
// module that PEFT would wrap.
void scaled_embedding(Forward& f, const Params& p) {
  const std::string name = base_prefix(f.row, f.model) + std::string(f.row.embedding);
  const Tensor weight = p.get(name, "weight");
  f.inputs_embeds = called(f, p, name, {weight}, f.ids, [&](const Tensor& ids) {
    const Tensor rows = embedding(weight, ids);
    if (weight.dtype() == f.job.strategy.precision.weight) return mul_scalar(rows);
    // `self.embed_scale.to(self.weight.dtype)`
    const Tensor scale = make(f.session, "aten._to_copy.default", {}, weight.dtype());
    return mul(rows, scale);
  });
}
int64_t scale_buffer(const Job& job) { return size_of(job.strategy.precision.weight); }

Tensor gemma_embed(Forward& f, const Params& p) {
  if (makes_embedding_scale(f.job)) {
    const Tensor rows = embed_tokens(f, p);
    const Tensor scale = make(f.session, "aten.lift_fresh.default", {}, rows.dtype());
    f.inputs_embeds = mul(rows, scale);
  } else {
    scaled_embedding(f, p);
  }
  prepare_positions(f);
  prepare_masks(f);
  prepare_rotary(f, p);
  return f.inputs_embeds;
}

struct Kinds {
  bool full, sliding;
};
Kinds kinds(const ModelSpec& model) {
  const auto& layers = model.layer_is_sliding;
  const auto sliding = std::count(layers.begin(), layers.end(), true);
  return {layers.empty() || sliding<std::ssize(layers), sliding> 0};
}

Tensor gemma3_embed(Forward& f, const Params& p) {
  scaled_embedding(f, p);
  prepare_positions(f);
  prepare_masks(f);
  const auto [full, sliding] = kinds(f.model);
  if (full) rotary_embedding(f, rotary_width(f.model), f.cos, f.sin);
  if (sliding) rotary_embedding(f, rotary_width(f.model), f.local_cos, f.local_sin);
  return f.inputs_embeds;
}

Tensor gemma_finish(Forward& f, const Params& head, const Tensor& hidden) {
  return norm(f, head, base_prefix(f.row, f.model) + std::string(f.row.final_norm), hidden);
}

Tensor capped_loss(Forward& f, const Params& head, const Params& embedding, const Tensor& hidden,
                   Tensor& logits) {
  if (f.model.head == ModelHead::sequence_classification)
    return classification_loss(f, head, hidden, logits);
  logits = lm_logits(f, head, embedding, hidden);
  if (f.model.extra_or("final_logit_softcapping", 0) != 0) {
    logits = div_scalar(logits);
    logits = aten::tanh(logits);
    logits = mul_scalar(logits);
  }
  return causal_loss(f, logits);
}

int64_t gemma_buffers(const Job& job) {
  return rotary_buffers(job) + (makes_embedding_scale(job) ? 0 : scale_buffer(job));
}

int64_t gemma3_buffers(const Job& job) {
  const auto [full, sliding] = kinds(job.model);
  return rotary_buffers(job) * (int{full} + int{sliding}) + scale_buffer(job);
}

}  // namespace

Family gemma() {
  return named({"gemma", gemma_layer, gemma_embed, gemma_finish, causal_lm_loss, gemma_buffers});
}

Family gemma2() {
  return named({"gemma2", gemma2_layer, gemma_embed, gemma_finish, capped_loss, gemma_buffers});
}

Family gemma3() {
  return named(
      {"gemma3_text", gemma3_layer, gemma3_embed, gemma_finish, capped_loss, gemma3_buffers});
}

}  // namespace memplan::hf
