// transformers 5.12.1, models/phi/modeling_phi.py
#include "lower/huggingface/classic.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

Tensor attention(const Forward& f, const Params& p, const Tensor& x) {
  const AttentionRow& row = f.row.attention;
  const int64_t d = f.model.head_dim;
  const auto project = [&](std::string_view name) {
    const Tensor y = linear(f, p, name, x);
    return split_heads(y, d);
  };
  Tensor q = project(row.q);
  Tensor k = project(row.k);
  const Tensor v = project(row.v);
  if (f.model.qk_norm) {
    q = row_norm(f, p, row.q_norm, q);
    k = row_norm(f, p, row.k_norm, k);
  }
  const int64_t width = rotary_width(f.model);
  Tensor q_turned = columns(q, 0, width);
  const Tensor q_pass = columns(q, width, d - width);
  Tensor k_turned = columns(k, 0, width);
  const Tensor k_pass = columns(k, width, d - width);
  apply_rotary(f.cos, f.sin, q_turned, k_turned);
  const Tensor q_parts[] = {q_turned, q_pass};
  q = cat(q_parts);
  const Tensor k_parts[] = {k_turned, k_pass};
  k = cat(k_parts);
  Tensor out = attend(f, q, k, v, {.mask = f.causal_mask, .dropout = f.model.dropout.attention});
  out = reshape(out, {x.size(0), x.size(1), f.model.heads * d});
  return linear(f, p, row.o, out);
}

Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& residual) {
  const Tensor hidden = row_norm(f, p, f.row.before_attention, residual);
  Tensor attended = attention(f, p, hidden);
  attended = dropout(attended, f.model.dropout.hidden);
  Tensor fed = plain_mlp(f, p, hidden);
  fed = dropout(fed, f.model.dropout.hidden);
  const Tensor sum = add(attended, fed);
  return add(sum, residual);
}

Tensor embed(Forward& f, const Params& p) {
  const std::string name = base_prefix(f.row, f.model) + std::string(f.row.embedding);
  f.inputs_embeds = adapted_embedding(f, p, name, f.ids);
  prepare_positions(f);
  prepare_masks(f);
  f.inputs_embeds = dropout(f.inputs_embeds, f.model.dropout.embedding);
  rotary_embedding(f, rotary_width(f.model), f.cos, f.sin);
  return f.inputs_embeds;
}

}  // namespace

Family phi_family() {
  return {"phi", layer, embed, decoder_finish, causal_lm_loss, rotary_buffers};
}

}  // namespace memplan::hf
