// transformers 5.12.1, models/gpt_neox/modeling_gpt_neox.py
#include "lower/huggingface/classic.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// apply_rotary_pos_emb: only the first columns turn.
void apply_partial_rotary(const Tensor& cos, const Tensor& sin, Tensor& q, Tensor& k) {
  const int64_t width = cos.size(-1), rest = q.size(-1) - width;
  Tensor q_turned = columns(q, 0, width);
  const Tensor q_pass = columns(q, width, rest);
  Tensor k_turned = columns(k, 0, width);
  const Tensor k_pass = columns(k, width, rest);
  apply_rotary(cos, sin, q_turned, k_turned);
  const Tensor q_parts[] = {q_turned, q_pass};
  q_turned.reset();
  const Tensor q_whole = cat(q_parts);
  const Tensor k_parts[] = {k_turned, k_pass};
  k = cat(k_parts);
  q = q_whole;
}

Tensor attention(const Forward& f, const Params& p, const Tensor& x) {
  const int64_t d = f.model.head_dim;
  std::vector<Tensor> parts;
  {
    const Tensor fused = linear(f, p, f.row.attention.qkv, x);
    const Tensor qkv = split_heads(fused, 3 * d);
    parts = split(qkv, {d, d, d});
  }
  Tensor q = parts[0], k = parts[1];
  const Tensor v = parts[2];
  parts.clear();
  apply_partial_rotary(f.cos, f.sin, q, k);
  Tensor out = attend(f, q, k, v, {.mask = f.causal_mask, .dropout = f.model.dropout.attention});
  out = reshape(out, x.sizes());
  return linear(f, p, f.row.attention.o, out);
}

Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& hidden) {
  const double chance = f.model.dropout.hidden;
  const auto attended_norm = [&] {
    const Tensor x = row_norm(f, p, f.row.before_attention, hidden);
    return attention(f, p, x);
  };
  const auto mlp_norm = [&](const Tensor& x) {
    const Tensor normed = row_norm(f, p, f.row.before_mlp, x);
    return plain_mlp(f, p, normed);
  };
  Tensor attended = attended_norm();
  attended = dropout(attended, chance);
  if (!f.model.parallel_residual) attended = add(attended, hidden);
  Tensor fed = mlp_norm(f.model.parallel_residual ? hidden : attended);
  fed = dropout(fed, chance);
  const Tensor sum = add(fed, attended);
  return f.model.parallel_residual ? add(sum, hidden) : sum;
}

Tensor embed(Forward& f, const Params& p) {
  const std::string name = base_prefix(f.row, f.model) + std::string(f.row.embedding);
  f.inputs_embeds = adapted_embedding(f, p, name, f.ids);
  prepare_positions(f);
  prepare_masks(f);
  const Tensor hidden = dropout(f.inputs_embeds, f.model.dropout.embedding);
  rotary_embedding(f, rotary_width(f.model), f.cos, f.sin);
  return hidden;
}

int64_t buffers(const Job& job) { return checked_add(rotary_buffers(job), causal_buffers(job)); }

}  // namespace

Family gpt_neox_family() {
  return {"gpt_neox", layer, embed, decoder_finish, causal_lm_loss, buffers};
}

}  // namespace memplan::hf
