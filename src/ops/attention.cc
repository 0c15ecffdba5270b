#include "ops/attention.h"

#include "ops/pointwise.h"

namespace memplan {
namespace {

struct Cost {
  double qk, pv;
};

// Products of backward: one for each operand that needs a gradient.
int gradients(const Graph& g, TensorId a, TensorId b) { return g.grad(a) + g.grad(b); }

// FLOPs of the two products over the whole score matrix, as the papers count them (causal masks
// are not subtracted).
Cost core_flops(const Graph& g, const Attention& spec, int64_t keys) {
  const double scores = 2.0 * static_cast<double>(g.tokens()) * static_cast<double>(keys) *
                        static_cast<double>(spec.heads);
  return {scores * static_cast<double>(spec.qk_head_dim),
          scores * static_cast<double>(spec.v_head_dim)};
}

// Keys and values go around the context-parallel ring: each rank ends having seen those of all,
// and their gradients come back the same way.
void ring_exchange(Graph& g, TensorId k, TensorId v) {
  if (g.context.cp == 1) return;
  for (TensorId tensor : {k, v}) {
    const Bytes whole = g.tensors[static_cast<size_t>(tensor)].bytes() * g.context.cp;
    g.comm(Collective::all_gather, CommGroup::context_parallel, false, whole);
    if (!g.grad(tensor)) continue;
    g.comm(Collective::all_gather, CommGroup::context_parallel, true, whole);
    g.comm(Collective::reduce_scatter, CommGroup::context_parallel, true, whole);
  }
}

TensorId unfused(Graph& g, TensorId q, TensorId k, TensorId v, const Attention& spec,
                 int64_t keys) {
  const Cost flops = core_flops(g, spec, keys);
  const DType dtype = g.context.activation;
  const int64_t scores = product({g.tokens(), keys, spec.heads});
  const bool grad = g.grad(q) || g.grad(k);
  const bool again = grad || g.grad(v);  // else backward never comes here
  const TensorId raw = g.add({.kind = "attention_scores",
                              .name = "scores",
                              .flops = flops.qk,
                              .flops_backward = gradients(g, q, k) * flops.qk,
                              .recomputable = again},
                             "scores", scores, dtype, grad);
  if (g.grad(k)) g.save(q);
  if (g.grad(q)) g.save(k);
  if (spec.soft_cap) {
    const TensorId capped = g.add({.kind = "activation", .name = "soft cap", .recomputable = again},
                                  "capped scores", scores, dtype, grad);
    if (g.grad(capped)) g.save(capped);
  }
  const TensorId soft = g.add({.kind = "softmax", .name = "softmax", .recomputable = again},
                              "softmax output", scores, dtype, grad);
  if (g.grad(raw)) g.save(soft);
  const TensorId kept = dropout(g, soft, spec.dropout, "attention dropout output");
  const int64_t width = checked_mul(spec.heads, spec.v_head_dim);
  Op op{.kind = "attention_values",
        .name = "values",
        .flops = flops.pv,
        .flops_backward = gradients(g, kept, v) * flops.pv};
  const TensorId out = g.add(std::move(op), "attention output", checked_mul(g.tokens(), width),
                             dtype, g.grad(kept) || g.grad(v));
  g.ops.back().recomputable = again;  // run again, though its output is kept
  if (g.grad(v)) g.save(kept);
  if (g.grad(kept)) g.save(v);
  return out;
}

TensorId flash(Graph& g, TensorId q, TensorId k, TensorId v, const Attention& spec, int64_t keys) {
  const Cost flops = core_flops(g, spec, keys);
  const double forward = flops.qk + flops.pv;
  const bool grad = g.grad(q) || g.grad(k) || g.grad(v);
  const int64_t width = checked_mul(spec.heads, spec.v_head_dim);
  // Backward makes the scores again: 5 products, one of them q·kᵀ (arXiv 2307.08691, section 3.1).
  const TensorId out =
      g.add({.kind = "flash_attention",
             .name = "attention",
             .flops = forward,
             .flops_backward = 2 * forward,
             .flops_rerun = flops.qk},
            "attention output", checked_mul(g.tokens(), width), g.context.activation, grad);
  if (!grad) return out;
  g.ops.back().recomputable = true;
  for (TensorId tensor : {q, k, v, out}) g.save(tensor);
  g.save_extra("log-sum-exp", checked_mul(g.tokens(), spec.heads), DType::f32);
  return out;
}

}  // namespace

TensorId attention(Graph& g, TensorId q, TensorId k, TensorId v, const Attention& spec) {
  const int64_t keys = spec.keys > 0 ? spec.keys : g.context.full_sequence;
  ring_exchange(g, k, v);
  return g.context.attention != AttentionKind::unfused ? flash(g, q, k, v, spec, keys)
                                                       : unfused(g, q, k, v, spec, keys);
}

TensorId slice(Graph& g, TensorId whole, std::string_view name, int64_t elements) {
  return g.add({.kind = "slice", .name = name}, name, elements, g.dtype(whole), g.grad(whole));
}

}  // namespace memplan
