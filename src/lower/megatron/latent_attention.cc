// MLASelfAttention (core/transformer/multi_latent_attention.py, core/models/gpt/gpt_layer_specs.py,
// 0.18): the bottlenecks are whole on every rank and see its share of the sequence.
#include "lower/megatron/walk.h"
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/mcore/pointwise.h"
#include "ops/mcore/routing.h"

namespace memplan::megatron {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

// A bottleneck's way up to the heads, with its norm where it has one.
Tensor up(const Walk& w, const Params& p, const Tensor& low, std::string_view norm,
          std::string_view linear) {
  if (!w.row.attention.latent.norms)
    return mcore::column_linear(low, p.get(linear), p.find(linear, "bias"), w.group);
  return mcore::norm_column_linear(low, p.norm(norm), p.get(linear), p.find(linear, "bias"),
                                   w.group);
}

}  // namespace

Tensor latent_attention(Walk& w, const Params& p, const Tensor& hidden) {
  const LatentRow& names = w.row.attention.latent;
  const MlaSpec& mla = w.model().mla;
  const int64_t heads = w.model().heads / w.group.size;
  const int64_t rotary_dim = mla.qk_rope_head_dim, qk_dim = mla.qk_nope_head_dim + rotary_dim;
  mcore::Group alone = w.group;
  alone.size = 1;

  const Tensor x = mcore::norm(hidden, p.norm(w.row.before_attention));
  const auto heads_of = [&](const Tensor& t, int64_t width) {
    return view(t, {t.size(0), t.size(1), heads, width});
  };
  Tensor q, low_q;
  if (mla.q_lora_rank > 0) low_q = mcore::column_linear(x, p.get(names.q_down), {}, alone);
  Tensor low_kv = mcore::column_linear(x, p.get(names.kv_down), {}, alone);
  std::vector<Tensor> parts = split(low_kv, {mla.kv_lora_rank, rotary_dim});
  low_kv.reset();
  Tensor rotary = mcore::gather_rows(parts[1], w.group.gathers() ? w.group.size : 1);
  rotary = view(rotary, {rotary.size(0), rotary.size(1), 1, rotary_dim});
  if (low_q)
    q = up(w, p, low_q, names.q_norm, names.q_up);
  else
    q = mcore::column_linear(x, p.get(names.q), {}, w.group);
  q = heads_of(q, qk_dim);
  const Tensor kv = heads_of(up(w, p, parts[0], names.kv_norm, names.kv_up),
                             mla.qk_nope_head_dim + mla.v_head_dim);
  parts.clear();
  mcore::KeysValues made;
  // The fused kernel turns q where it lies.
  if (w.strategy().megatron.rope_fusion) {
    made = mcore::fused_latent_rope(kv, rotary, mla.qk_nope_head_dim, mla.v_head_dim);
  } else {
    const std::vector<Tensor> halves = split(q, {mla.qk_nope_head_dim, rotary_dim});
    const Tensor turned = mcore::plain_rope(halves[1], rotary_dim);
    const Tensor whole[] = {halves[0], turned};
    q = cat(whole);
    made = mcore::plain_latent_rope(kv, rotary, mla.qk_nope_head_dim, mla.v_head_dim);
  }
  return core_attention(w, q, made.keys, made.values);
}

}  // namespace memplan::megatron
