// TransformerLayer with SelfAttention and MLP
// (core/transformer/{transformer_layer,attention,mlp}.py, 0.18).
#include "lower/megatron/adapter.h"
#include "lower/megatron/t5_blocks.h"
#include "lower/megatron/walk.h"
#include "memplan/error.h"
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/mcore/pointwise.h"
#include "ops/mcore/routing.h"

namespace memplan::megatron {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

bool recomputes(const Walk& w, std::string_view module) {
  const Strategy& s = w.strategy();
  if (s.recompute != Recompute::selective) return false;
  for (const std::string& name : s.megatron.recompute_modules)
    if (name == module) return true;
  return s.megatron.recompute_modules.empty() && module == "core_attn";
}

mcore::DiscardedOutputs discarded(const Walk& w) {
  return mcore::DiscardedOutputs(w.strategy().megatron.core >= Version{0, 17, 0});
}

Tensor core_attention(const Walk& w, const Tensor& q, const Tensor& k, const Tensor& v) {
  const auto run = [q, k, v, options = w.attention, group = w.group] {
    return mcore::core_attention(q, k, v, options, group);
  };
  if (!recomputes(w, "core_attn")) return run();
  for (const Tensor* x : {&q, &k, &v}) (*x)->storage->mark_kept(*x->operator->());
  return checkpoint(w.session, {}, run);
}

namespace {

Tensor rope(const Walk& w, const Tensor& x) {
  if (!w.row.positions.empty() || w.model().extra_or("no_positions", 0) != 0) return x;
  if (w.strategy().megatron.rope_fusion) return mcore::fused_rope(x);
  const int64_t percent = w.model().extra_or("rotary_percent", 100);
  return mcore::plain_rope(x, x.size(-1) * percent / 100);
}

// A column-parallel layer that holds the norm before it, with its adapter.
Tensor normed_linear(const Walk& w, const Params& p, const mcore::Norm& norm,
                     std::string_view module, const Tensor& bias, const Tensor& x) {
  if (!is_adapted(p, module))
    return mcore::norm_column_linear(x, norm, p.get(module), bias, w.group);
  Tensor normed;
  const Tensor y = mcore::norm_column_linear(x, norm, p.get(module), bias, w.group, &normed);
  return with_column_adapter(w, p, module, normed, y);
}

// A column-parallel layer by itself: the adapter reads what all ranks have.
Tensor plain_linear(const Walk& w, const Params& p, std::string_view module, const Tensor& x) {
  const Tensor y = mcore::column_linear(x, p.get(module), {}, w.group);
  if (!is_adapted(p, module)) return y;
  const Tensor whole = mcore::gather_rows(x, w.group.gathers() ? w.group.size : 1);
  return with_column_adapter(w, p, module, whole, y);
}

Tensor output_linear(const Walk& w, const Params& p, std::string_view module, const Tensor& x) {
  const Tensor y = mcore::row_linear(x, p.get(module), w.group);
  return is_adapted(p, module) ? with_row_adapter(w, p, module, x, y) : y;
}

Tensor self_attention(Walk& w, const Params& p, const Tensor& hidden) {
  const AttentionRow& row = w.row.attention;
  const ModelSpec& model = w.model();
  const int64_t heads = model.heads / w.group.size;
  const int64_t kv_heads = std::max<int64_t>(1, model.kv_heads / w.group.size);
  mcore::Heads qkv;
  {
    const Tensor mixed = normed_linear(w, p, p.norm(w.row.before_attention), row.qkv,
                                       p.find(row.qkv, "bias"), hidden);
    qkv = mcore::split_heads(mixed, heads, kv_heads, model.head_dim);
  }
  if (model.qk_norm) {
    qkv.q = mcore::norm(qkv.q, p.norm(row.q_norm));
    qkv.k = mcore::norm(qkv.k, p.norm(row.k_norm));
  }
  qkv.q = rope(w, qkv.q);
  qkv.k = rope(w, qkv.k);
  const Tensor out = core_attention(w, qkv.q, qkv.k, qkv.v);
  return out;
}

// A norm that is a module of its own.
Tensor normed(Walk& w, const mcore::Norm& norm, const Tensor& x, mcore::DiscardedOutputs& again) {
  if (!recomputes(w, "layernorm")) return mcore::norm(x, norm);
  return again
      .run(w.session, {x},
           [norm](std::span<const Tensor> in) {
             return std::vector<Tensor>{mcore::norm(in[0], norm)};
           })
      .front();
}

// MoELayer behind its norm.
Tensor moe(Walk& w, const Params& p, const Tensor& hidden) {
  mcore::DiscardedOutputs again = discarded(w);
  const Tensor x = normed(w, p.norm(w.row.before_mlp), hidden, again);
  const auto run = [&w, &p, x] { return experts(w, p, x); };
  const Tensor out = recomputes(w, "moe") ? checkpoint(w.session, x, run) : run();
  again.discard(out);
  return out;
}

Tensor dense(Walk& w, const Params& p, const Tensor& hidden) {
  const auto run = [&w, &p, norm = p.norm(w.row.before_mlp), hidden] {
    return mlp(w, p, norm, w.row.mlp, hidden);
  };
  return recomputes(w, "mlp") ? checkpoint(w.session, hidden, run) : run();
}

}  // namespace

Tensor attention(Walk& w, const Params& p, const Tensor& hidden) {
  if (w.row.attention.form != AttentionForm::latent) {
    const Tensor out = self_attention(w, p, hidden);
    return output_linear(w, p, w.row.attention.o, out);
  }
  mcore::DiscardedOutputs again = discarded(w);
  const Tensor x = normed(w, p.norm(w.row.before_attention), hidden, again);
  Tensor out = latent_attention(w, p, x);
  out = output_linear(w, p, w.row.attention.o, out);
  again.discard(out);
  return out;
}

Tensor feed_forward(Walk& w, const Params& p, bool has_experts, const Tensor& hidden) {
  return has_experts ? moe(w, p, hidden) : dense(w, p, hidden);
}

Tensor mlp(const Walk& w, const Params& p, const mcore::Norm& norm, const MlpRow& names,
           const Tensor& hidden) {
  const ModelSpec& model = w.model();
  const std::string_view first = model.gated_mlp ? names.gate_up : names.up;
  const Tensor bias = p.find(first, "bias");
  Tensor x = norm.weight ? normed_linear(w, p, norm, first, {}, hidden)
                         : plain_linear(w, p, first, hidden);
  // mlp.py: bias_gelu_impl wants a bias, bias_swiglu_impl does not; squared ReLU is compiled.
  const bool fused = (w.strategy().megatron.bias_activation_fusion &&
                      ((model.activation == "gelu" && !model.gated_mlp && bias) ||
                       (model.activation == "silu" && model.gated_mlp))) ||
                     model.activation == "relu2";
  x = fused ? mcore::bias_activation(x, bias, model.gated_mlp)
            : mcore::plain_activation(x, bias, model.gated_mlp, model.activation);
  return output_linear(w, p, names.down, x);
}

Tensor layer(Walk& w, const Params& p, const LayerKind& kind, const Tensor& given) {
  if (kind.form != LayerForm::whole) return hybrid_layer(w, p, kind, given);
  const double p_hidden = w.model().dropout.hidden;
  Tensor hidden = given;
  w.attention.padded = w.is_t5() && !kind.decoder;  // t5_spec.py, attn_mask_type
  {
    const Tensor out = attention(w, p, hidden);
    hidden = mcore::bias_dropout_add(out, p.find(w.row.attention.o, "bias"), hidden, p_hidden);
  }
  if (kind.decoder) {
    Tensor out = cross_attention(w, p, hidden);
    out = mcore::row_linear(out, p.get(kCrossOutput), w.group);
    hidden = mcore::bias_dropout_add(out, p.find(kCrossOutput, "bias"), hidden, p_hidden);
  }
  const Tensor out = feed_forward(w, p, kind.moe, hidden);
  const Tensor bias = kind.moe ? Tensor() : p.find(w.row.mlp.down, "bias");
  return mcore::bias_dropout_add(out, bias, hidden, p_hidden);
}

}  // namespace memplan::megatron
