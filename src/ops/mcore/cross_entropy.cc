#include "ops/mcore/cross_entropy.h"

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::mcore {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;
using Kind = MegatronSpec::CrossEntropy;

namespace {

constexpr std::string_view kForward = "vocab_parallel_cross_entropy";

// Logits in fp32, in whose place the softmax is written and, in backward, its gradient. The fused
// form's compiled functions return the softmax as a tensor of its own, beside the logits that the
// caller holds, and narrow the gradient themselves; otherwise autograd does.
Tensor vocab_parallel(const Tensor& logits, const Tensor& labels, bool fused) {
  Session& session = logits.session();
  const Shape rows = labels.sizes();
  const Tensor wide = to(logits.detach(), DType::f32);
  const Tensor softmax = fused ? make(session, kForward, wide.sizes(), DType::f32) : wide;
  Tensor largest = make(session, "aten.max.dim", rows, DType::f32);
  Tensor others = make(session, "aten.bitwise_or.Tensor", rows, DType::boolean);
  Tensor target = make(session, "aten.sub.Tensor", rows, DType::i64);
  Tensor predicted = make(session, "aten.index.Tensor", rows, DType::f32);
  Tensor sums = make(session, "aten.sum.dim_IntList", rows, DType::f32);
  Tensor loss = make(session, kForward, rows, DType::f32);
  if (!tracks(logits)) return loss;
  const Saved ks(softmax), ko(others), kt(target);
  record({&loss}, {&logits}, [ks, ko, kt, fused, narrow = logits.dtype()](Grads& g) {
    Tensor grad = ks.get();
    const Tensor update = make(g.session(), "aten.rsub.Scalar", {kt.get().elements()}, DType::f32);
    g.set(0, fused ? to(grad, narrow) : grad);
  });
  return loss;
}

// Transformer Engine's kernel: the gradient is made in forward. Up to 2.17 over the logits, which
// autograd no longer needs; since 2.18 (commit 01bbe3eea) in an fp32 tensor of its own.
Tensor transformer_engine_loss(const Tensor& logits, const Tensor& labels, Version version) {
  constexpr Version kOwnGradient{2, 18, 0};
  Session& session = logits.session();
  Tensor loss = make(session, "aten.zeros.default", labels.sizes(), DType::f32);
  Tensor statistics = make(session, "aten.zeros.default", {labels.elements() * 3}, DType::f32);
  Tensor grad = version < kOwnGradient
                    ? logits.detach()
                    : make(session, "aten.empty_like.default", logits.sizes(), DType::f32);
  session.ledger.note("transformer_engine.cross_entropy_forward");
  if (!tracks(logits)) return loss;
  const Saved kept(grad);
  record({&loss}, {&logits}, [kept](Grads& g) { g.set(0, kept.get()); });
  return loss;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, Kind kind,
                     Version transformer_engine) {
  if (kind == Kind::fused_te) return transformer_engine_loss(logits, labels, transformer_engine);
  return vocab_parallel(logits, labels, kind == Kind::fused_native);
}

}  // namespace memplan::mcore
