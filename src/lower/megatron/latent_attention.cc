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

// qkv_up_proj_and_rope_apply: [s, b, nh, d] of queries, keys and values, from the query's
// bottleneck (or the stream itself), the other one and the part of keys that is turned.
std::vector<Tensor> heads_of(const Walk& w, const Params& p, std::span<const Tensor> in) {
  const LatentRow& names = w.row.attention.latent;
  const MlaSpec& mla = w.model().mla;
  const int64_t heads = w.model().heads / w.group.size;
  const int64_t rotary_dim = mla.qk_rope_head_dim, qk_dim = mla.qk_nope_head_dim + rotary_dim;
  const auto divided = [&](const Tensor& t, int64_t width) {
    return view(t, {t.size(0), t.size(1), heads, width});
  };
  Tensor q = mla.q_lora_rank > 0 ? up(w, p, in[0], names.q_norm, names.q_up)
                                 : mcore::column_linear(in[0], p.get(names.q), {}, w.group);
  q = divided(q, qk_dim);
  const Tensor kv =
      divided(up(w, p, in[1], names.kv_norm, names.kv_up), mla.qk_nope_head_dim + mla.v_head_dim);
  const Tensor rotary = view(in[2], {in[2].size(0), in[2].size(1), 1, rotary_dim});
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
  return {q, made.keys, made.values};
}

}  // namespace

Tensor latent_attention(Walk& w, const Params& p, const Tensor& x) {
  const LatentRow& names = w.row.attention.latent;
  const MlaSpec& mla = w.model().mla;
  const int64_t rotary_dim = mla.qk_rope_head_dim;
  mcore::Group alone = w.group;
  alone.size = 1;

  Tensor low_q = x;
  if (mla.q_lora_rank > 0) low_q = mcore::column_linear(x, p.get(names.q_down), {}, alone);
  Tensor low_kv = mcore::column_linear(x, p.get(names.kv_down), {}, alone);
  std::vector<Tensor> parts = split(low_kv, {mla.kv_lora_rank, rotary_dim});
  low_kv.reset();
  const Tensor rotary = mcore::gather_rows(parts[1], w.group.gathers() ? w.group.size : 1);
  std::vector<Tensor> inputs{low_q, parts[0], rotary};
  low_q.reset();
  parts.clear();
  const auto run = [&w, &p](std::span<const Tensor> in) { return heads_of(w, p, in); };
  mcore::DiscardedOutputs again = discarded(w);
  const std::vector<Tensor> qkv = recomputes(w, "mla_up_proj")
                                      ? again.run(w.session, std::move(inputs), run)
                                      : run(std::exchange(inputs, {}));
  const Tensor out = core_attention(w, qkv[0], qkv[1], qkv[2]);
  again.discard(out);
  return out;
}

}  // namespace memplan::megatron
