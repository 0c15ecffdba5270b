// torchtune/modules/transformer.py, attention.py, feed_forward.py and rms_norm.py, and
// models/gemma.
#include <array>
#include <string>

#include "lower/huggingface/losses.h"
#include "lower/torchtune/torchtune.h"
#include "memplan/error.h"
#include "ops/aten/offload.h"

namespace memplan::torchtune {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;
using hf::Family;
using hf::Forward;
using hf::Params;

namespace {

// Gemma's weights apply before the result is narrowed.
bool is_gemma(const Forward& f) { return f.model.family == "gemma"; }

Tensor normalized(const Tensor& x) {
  Tensor inverse;
  {
    const Tensor power = pow_scalar(x);
    inverse = mean_last(power);
  }
  inverse = add_scalar(inverse);
  inverse = rsqrt(inverse);
  return mul(x, inverse);
}

// RMSNorm
Tensor rms_norm(const Tensor& x, const Tensor& scale) {
  const Tensor x_fp32 = to(x, DType::f32);
  Tensor x_normed = normalized(x_fp32);
  x_normed = to(x_normed, x.dtype());
  return mul(x_normed, scale);
}

// GemmaRMSNorm
Tensor gemma_norm(const Tensor& x, const Tensor& scale) {
  Tensor output;
  {
    const Tensor wide = to(x, DType::f32);
    output = normalized(wide);
  }
  {
    Tensor factor = to(scale, DType::f32);
    factor = add_scalar(factor);
    output = mul(output, factor);
  }
  return to(output, x.dtype());
}

Tensor norm(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const Tensor scale = p.get(name, "weight");
  return is_gemma(f) ? gemma_norm(x, scale) : rms_norm(x, scale);
}

// [b, s, kv_heads, d] -> [b, heads, s, d]
Tensor for_all_heads(const Forward& f, const Tensor& x) {
  const int64_t b = x.size(0), s = x.size(1), kv = f.model.kv_heads, d = f.model.head_dim;
  Tensor out = view(x, {b, s, kv, 1, d});
  if (f.model.heads != kv) out = expand(out, {b, s, kv, f.model.heads / kv, d});
  out = reshape(out, {b, s, f.model.heads, d});
  return transpose(out, 1, 2);
}

Tensor attend(const Forward& f, const Tensor& q, const Tensor& k, const Tensor& v) {
  if (f.position_ids && uses_flex_attention(f.job)) return flex_attention(q, k, v);
  SdpaOptions options;
  options.causal = !f.causal_mask;
  if (f.causal_mask) options.mask = unsqueeze(f.causal_mask, 1);
  return scaled_dot_product_attention(q, k, v, options);
}

// MultiHeadAttention.forward
Tensor attention(const Forward& f, const Params& p, const Tensor& x) {
  const AttentionRow& row = f.row.attention;
  const int64_t b = x.size(0), s = x.size(1), d = f.model.head_dim;
  Tensor q = torchtune::linear(f, p, row.q, x);
  q = view(q, {b, s, f.model.heads, d});
  q = apply_rope(f, q);
  q = transpose(q, 1, 2);
  Tensor k = torchtune::linear(f, p, row.k, x);
  Tensor v = torchtune::linear(f, p, row.v, x);
  k = view(k, {b, s, f.model.kv_heads, d});
  k = apply_rope(f, k);
  k = for_all_heads(f, k);
  v = for_all_heads(f, v);
  Tensor output = attend(f, q, k, v);
  output = contiguous(transpose(output, 1, 2));
  output = view(output, {b, s, f.model.heads * d});
  return torchtune::linear(f, p, row.o, output);
}

// FeedForward.forward
Tensor feed_forward(const Forward& f, const Params& p, const Tensor& x) {
  const MlpRow& row = f.row.mlp;
  Tensor h = torchtune::linear(f, p, row.gate, x);
  h = activation(h, is_gemma(f) ? "gelu_pytorch_tanh" : f.model.activation);
  {
    const Tensor up = torchtune::linear(f, p, row.up, x);
    h = mul(h, up);
  }
  return torchtune::linear(f, p, row.down, h);
}

// TransformerSelfAttentionLayer.forward
Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& x) {
  const Compiled inside(f.session, f.job.strategy.compile);
  Tensor h = norm(f, p, f.row.before_attention, x);
  const Tensor attn_out = attention(f, p, h);
  h = add(attn_out, x);
  Tensor mlp_out;
  {
    const Tensor normed = norm(f, p, f.row.before_mlp, h);
    mlp_out = feed_forward(f, p, normed);
  }
  return add(h, mlp_out);
}

Tensor embed(Forward& f, const Params& p) {
  const Job& job = f.job;
  enter_loop(f);
  f.cos = rope_cache(f);
  if (job.strategy.packed) {
    f.position_ids = owned_elsewhere(f.session, f.ids.sizes(), DType::i64);
    if (!uses_flex_attention(job))
      f.causal_mask = owned_elsewhere(f.session, {f.batch, f.sequence, f.sequence}, DType::boolean);
  }
  if (f.session.offloading) f.session.offloading->active = true;
  const Tensor rows = embedding(p.get(f.row.embedding, "weight"), f.ids);
  if (!is_gemma(f)) return rows;
  // GemmaNormEmbeddings: times a new tensor without dimensions
  const Tensor scale = make(f.session, "aten.lift_fresh.default", {}, rows.dtype());
  return mul(rows, scale);
}

Tensor finish(Forward& f, const Params& head, const Tensor& hidden) {
  Tensor out = norm(f, head, f.row.final_norm, hidden);
  if (f.session.offloading) f.session.offloading->active = false;
  return out;
}

// The caches of positions: one for each copy of the layer that a builder copies, one alone where it
// builds the layers one by one (models/llama3_1, llama3_2). With them the recipe's
// ignore_labels_cache.
int64_t buffers(const Job& job) {
  const bool shared = job.model.extra_or("llama3_rope", 0) != 0;
  const int64_t caches = shared ? 1 : job.model.layers;
  return checked_add(checked_mul(rope_bytes(job.model), caches),
                     checked_mul(job.strategy.micro_batch, size_of(DType::i64)));
}

constexpr std::array kLosses{LossKind::cross_entropy, LossKind::torchtune_chunked};

constexpr Family kFamily = {.name = "torchtune",
                            .layer = layer,
                            .embed = embed,
                            .finish = finish,
                            .loss = nullptr,
                            .buffers = buffers,
                            .program_loss = loss,
                            .program_losses = kLosses};

}  // namespace

const Family& family(const ModelSpec& model) {
  constexpr std::array<std::string_view, 4> kFamilies{"llama", "mistral", "qwen2", "gemma"};
  for (std::string_view name : kFamilies)
    if (model.family == name && model.head == ModelHead::causal_lm) return kFamily;
  throw Error(ErrorKind::not_modelled, "--framework torchtune",
              "torchtune's model of '" + model.family + "' is not modelled",
              "use --framework textbook");
}

}  // namespace memplan::torchtune
