// LlamaModel and those that differ from it by what their rows say.
#include <algorithm>
#include <utility>

#include "lower/huggingface/families.h"
#include "lower/huggingface/liger.h"
#include "lower/huggingface/module.h"
#include "lower/huggingface/peft.h"
#include "lower/huggingface/versions.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

Tensor attention_output(const Forward& f, const Params& p, const LayerKind& kind, const Tensor& q,
                        const Tensor& k, const Tensor& v, double soft_cap) {
  const Tensor out = attend(f, q, k, v,
                            {.mask = kind.sliding ? f.sliding_mask : f.causal_mask,
                             .dropout = f.model.dropout.attention,
                             .soft_cap = soft_cap});
  const Tensor joined = view(out, {f.batch, f.sequence, out.size(2) * out.size(3)});
  return linear(f, p, f.row.attention.o, joined);
}

Tensor decoder_attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x,
                         double soft_cap) {
  const AttentionRow& row = f.row.attention;
  const int64_t d = f.model.head_dim;
  const bool head_norm = row.qk_norm == QkNorm::per_head;
  const auto project = [&](std::string_view name, std::string_view norm) {
    Tensor y = linear(f, p, name, x);
    if (head_norm && !norm.empty()) {
      Tensor heads = view(y, {y.size(0), y.size(1), y.size(2) / d, d});
      y.reset();
      const Tensor weight = p.get(norm, "weight");
      heads = called(f, p, norm, {weight}, heads,
                     [&](const Tensor& given) { return llama_norm(f, given, weight); });
      return transpose(heads, 1, 2);
    }
    return split_heads(y, d);
  };
  Tensor q = project(row.q, row.q_norm);
  Tensor k = project(row.k, row.k_norm);
  Tensor v = project(row.v, {});
  const Rotary turn = layer_rotary(f, v);
  if (runs_liger(f)) {
    liger::rope(q, k, turn.cos, turn.sin);
  } else if (rotary_home(f.job) == RotaryHome::tables) {
    const Rotary rows = rotary_rows(f, turn);
    apply_rotary(rows.cos, rows.sin, q, k);
  } else {
    apply_rotary(turn.cos, turn.sin, q, k);
  }
  extend_past(f, k, v);
  return attention_output(f, p, kind, q, k, v, soft_cap);
}

Tensor gated_mlp(const Forward& f, const Params& p, const MlpRow& row, const Tensor& x) {
  Tensor product;
  if (runs_liger(f)) {
    const Tensor gate = linear(f, p, row.gate, x);
    product = liger::gated(gate, linear(f, p, row.up, x));
  } else {
    Tensor gate = linear(f, p, row.gate, x);
    gate = called(f, p, "act_fn", {}, gate,
                  [&](const Tensor& given) { return activation(given, f.model.activation); });
    const Tensor up = linear(f, p, row.up, x);
    product = mul(gate, up);
  }
  return linear(f, p, row.down, product);
}

Tensor decoder_layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  Tensor residual = hidden;
  Tensor x = row_norm(f, p, f.row.before_attention, hidden);
  {
    Tensor output = called(f, p, "self_attn", {}, {},
                           [&](const Tensor&) { return decoder_attention(f, p, kind, x); });
    x = with_adaption_prompt(f, p, x, std::move(output));
  }
  x = add(residual, x);
  residual = x;
  x = row_norm(f, p, f.row.before_mlp, x);
  x = called(f, p, "mlp", {}, x,
             [&](const Tensor& given) { return gated_mlp(f, p, f.row.mlp, given); });
  return add(residual, x);
}

Tensor embed_tokens(Forward& f, const Params& p) {
  const std::string name = base_prefix(f.row, f.model) + std::string(f.row.embedding);
  return with_prompts(f, adapted_embedding(f, p, name, f.ids), p);
}

Tensor decoder_embed(Forward& f, const Params& p) {
  f.inputs_embeds = embed_tokens(f, p);
  prepare_positions(f);
  prepare_masks(f);
  prepare_rotary(f, p);
  return f.inputs_embeds;
}

Tensor decoder_finish(Forward& f, const Params& head, const Tensor& hidden) {
  if (f.row.final_norm.empty()) return hidden;
  return row_norm(f, head, base_prefix(f.row, f.model) + std::string(f.row.final_norm), hidden);
}

Tensor head_weight(const Forward& f, const Params& head, const Params& embedding) {
  const Tensor own = head.find(f.row.head, "weight");
  if (own) return own;
  return tied_weight(f, embedding, base_prefix(f.row, f.model) + std::string(f.row.embedding));
}

Tensor lm_logits(const Forward& f, const Params& head, const Params& embedding,
                 const Tensor& hidden) {
  const Tensor weight = head_weight(f, head, embedding);
  return adapted_linear(f, head, {f.row.head, weight, head.find(f.row.head, "bias")}, hidden);
}

Tensor causal_lm_loss(Forward& f, const Params& head, const Params& embedding, const Tensor& hidden,
                      Tensor& logits) {
  if (f.model.head == ModelHead::sequence_classification)
    return classification_loss(f, head, hidden, logits);
  logits = lm_logits(f, head, embedding, hidden);
  return causal_loss(f, logits);
}

namespace {

// logits[..., :-1, :] against labels[..., 1:], both copied.
Tensor shifted_loss(Forward& f, const Tensor& logits) {
  const int64_t length = f.sequence - 1, tokens = f.batch * length;
  Tensor rows;
  {
    const Tensor earlier = slice(logits, 1, 0, length);
    rows = contiguous(every(earlier, 2));
  }
  const Tensor labels = contiguous(slice(f.ids, 1, 1, length));
  return cross_entropy(view(rows, {tokens, rows.size(-1)}), view(labels, {tokens}));
}

Tensor padded_loss(Forward& f, const Tensor& given) {
  const Tensor logits = to(given, DType::f32);
  const Tensor labels =
      make(f.session, "aten.constant_pad_nd.default", {f.batch, f.sequence + 1}, DType::i64);
  const Tensor later = slice(labels, 1, 1, f.sequence);
  const Tensor shifted = contiguous(later);
  const int64_t tokens = f.batch * f.sequence;
  const Tensor rows = view(logits, {tokens, logits.size(-1)});
  return cross_entropy(rows, view(shifted, {tokens}));
}

}  // namespace

Tensor causal_loss(Forward& f, Tensor& logits) {
  switch (causal_loss_form(f.job)) {
    case CausalLossForm::widened:
      logits = to(logits, DType::f32);
      return shifted_loss(f, logits);
    case CausalLossForm::shifted:
      return shifted_loss(f, logits);
    case CausalLossForm::widened_inside: {
      const Tensor wide = to(logits, DType::f32);
      return shifted_loss(f, wide);
    }
    case CausalLossForm::padded:
      break;
  }
  return padded_loss(f, logits);
}

Tensor classification_loss(Forward& f, const Params& head, const Tensor& hidden, Tensor& logits) {
  const Tensor scores = linear(f, head, "score", hidden);
  Session& s = f.session;
  const Shape grid{f.batch, f.sequence};
  Tensor last;
  {
    const Tensor own = make(s, "aten._to_copy.default", grid, DType::i32);
    const Tensor at = make(s, "aten.arange.default", {f.sequence}, DType::i32);
    const Tensor product = pointwise("aten.mul.Tensor", {&at, &own}, DType::i32);
    last = make(s, "aten.argmax.default", {f.batch}, DType::i64);
  }
  const Tensor rows = make(s, "aten.arange.default", {f.batch}, DType::i64);
  logits = index_pairs(scores, rows, last);
  return cross_entropy(logits, f.labels);
}

Tensor masked_loss(Forward& f, const Tensor& logits) {
  const int64_t tokens = f.batch * f.sequence;
  const Tensor rows = view(logits, {tokens, logits.size(-1)});
  return cross_entropy(rows, view(f.ids, {tokens}));
}

int64_t rotary_positions(const Job& job) {
  return std::max(job.model.max_positions, job.strategy.sequence);
}

int64_t rotary_buffers(const Job& job) {
  const RotaryHome home = rotary_home(job);
  const int64_t width = rotary_width(job.model);
  if (home == RotaryHome::tables) {
    const int64_t tables = checked_mul(rotary_positions(job), 2 * width);
    return checked_mul(job.model.layers, checked_add(ceil_div(width, 2), tables)) *
           size_of(DType::f32);
  }
  int64_t copies = keeps_original_frequencies(job) ? 2 : 1;
  if (home != RotaryHome::model) copies = job.model.layers;
  if (home == RotaryHome::layers_and_model) ++copies;
  return copies * ceil_div(rotary_width(job.model), 2) * size_of(DType::f32);
}

int64_t causal_buffers(const Job& job) {
  if (!holds_causal_buffers(job)) return 0;
  const int64_t square = checked_mul(job.model.max_positions, job.model.max_positions);
  return checked_mul(
      job.model.layers,
      checked_add(square, holds_masked_bias(job) ? size_of(job.strategy.precision.weight) : 0));
}

namespace {

constexpr Family llama_like(std::string_view name) {
  Family out{name, decoder_layer, decoder_embed, decoder_finish, causal_lm_loss, rotary_buffers};
  out.names_modules = true;
  return out;
}

constexpr Family kFamilies[] = {llama_like("llama"), llama_like("mistral"), llama_like("qwen2"),
                                llama_like("qwen3")};

}  // namespace

std::span<const Family> llama_families() { return kFamilies; }

}  // namespace memplan::hf
