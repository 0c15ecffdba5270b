// TopKRouter (core/transformer/moe/{router,moe_utils}.py, 0.18): scores of all experts, the choice
// among them, and the losses that balance it.
#include <algorithm>

#include "lower/megatron/walk.h"
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/mcore/pointwise.h"
#include "ops/mcore/routing.h"

namespace memplan::megatron {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

const MegatronSpec& spec(const Walk& w) { return w.strategy().megatron; }

Tensor constant(const Tensor& like, const Shape& sizes, std::string_view op) {
  return make(like.session(), op, sizes, like.dtype());
}

// group_limited_topk: groups beyond the best are masked out first.
Selected choose(const Walk& w, const Tensor& scores) {
  const int64_t chosen = w.model().moe.experts_per_token;
  if (spec(w).router_groups == 0) return topk(scores, chosen);
  const Tensor mask =
      make(scores.session(), "aten.bitwise_not.default", scores.sizes(), DType::boolean);
  return topk(masked_fill(scores, mask), chosen);
}

// Each score over the sum of them.
Tensor normalized(const Tensor& scores) {
  const Tensor total = add_scalar(sum_last(scores));
  return div(scores, total);
}

Tensor sigmoid_scores(const Walk& w, const Tensor& logits) {
  const Tensor wide = to(logits, DType::f32);
  if (spec(w).score_function == "sigmoid") return sigmoid(wide);
  return mcore::sqrt_softplus(wide);
}

struct Choice {
  Tensor probabilities, experts;  ///< [n, k]
};

// topk_routing_with_score_function. Until 0.17 scores have the logits' dtype.
Choice weigh(const Walk& w, const Tensor& logits) {
  const MegatronSpec& m = spec(w);
  const auto narrow = [&](const Tensor& x) {
    return m.core < Version{0, 17, 0} ? to(x, logits.dtype()) : x;
  };
  Choice out;
  if (m.score_function == "softmax") {
    if (m.router_pre_softmax) {
      const Selected top = choose(w, narrow(softmax_f32(logits)));
      out = {top.values, top.indices};
    } else {
      const Selected top = choose(w, logits);
      out = {narrow(softmax_f32(top.values)), top.indices};
    }
  } else {
    const Tensor scores = narrow(sigmoid_scores(w, logits));
    if (m.router_bias) {
      {
        const Tensor bias = constant(scores, {scores.size(-1)}, "aten._to_copy.default");
        out.experts = choose(w, add(scores, bias)).indices;
      }
      out.probabilities = gather(scores, out.experts);
    } else {
      const Selected top = choose(w, scores);
      out = {top.values, top.indices};
    }
    if (w.model().moe.experts_per_token > 1) out.probabilities = normalized(out.probabilities);
  }
  out.probabilities = to(out.probabilities, logits.dtype());
  return out;
}

// switch_load_balancing_loss_func
Tensor balancing_loss(const Tensor& scores) {
  const Tensor each = sum_dim(scores, 0);
  const Tensor tokens = constant(each, each.sizes(), "aten.sum.dim_IntList");
  const Tensor products = mul(each, tokens);
  return mul_scalar(sum(products));
}

// compute_routing_scores_for_aux_loss, and a loss of each kind.
Tensor balanced(const Walk& w, const Tensor& logits, Tensor probabilities) {
  const MegatronSpec& m = spec(w);
  Tensor scores;
  if (m.router_fusion)
    scores = mcore::fused_scores(logits);
  else if (m.score_function == "softmax")
    scores = softmax_f32(logits);
  else
    scores = normalized(sigmoid_scores(w, logits));
  for (const std::string& kind : m.load_balancing)
    if (kind.ends_with("aux_loss"))
      probabilities = mcore::with_loss(probabilities, balancing_loss(scores));
  return probabilities;
}

// z_loss_func: the mean of squared log-sum-exps.
Tensor with_z_loss(const Tensor& logits) {
  const Tensor sums = mcore::logsumexp(logits);
  const Tensor squares = pow_scalar(sums);
  return mcore::with_loss(logits, mul_scalar(mean(squares)));
}

}  // namespace

Routed route(const Walk& w, const Params& p, const Tensor& tokens) {
  const MegatronSpec& m = spec(w);
  const DType dtype = m.router_fp32 ? DType::f32 : tokens.dtype();
  Tensor logits = mcore::router_linear(tokens, p.get(w.row.moe.router), dtype);
  const bool trains = w.strategy().training && w.session.grad_enabled;
  if (m.z_loss > 0 && trains) logits = with_z_loss(logits);
  Routed out;
  if (m.router_fusion) {
    out.probabilities = mcore::fused_scores(logits);
  } else {
    const Choice choice = weigh(w, logits);
    out.probabilities =
        mcore::scatter_columns(choice.probabilities, choice.experts, logits.sizes());
  }
  out.map = make(w.session, "aten._to_copy.default", logits.sizes(), DType::boolean);
  if (m.aux_loss > 0 && trains) out.probabilities = balanced(w, logits, out.probabilities);
  return out;
}

}  // namespace memplan::megatron
