#include "ops/aten/zero3.h"

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

Tensor rows_of(const Tensor& x) { return reshape(x, {x.elements() / x.size(-1), x.size(-1)}); }

Backward backward_of(const Saved& input, const Saved& weight, const Saved& bias) {
  return [input, weight, bias](Grads& grads) {
    const Tensor& grad = grads.in();
    const Tensor x = input.get();
    const Tensor w = weight.get();
    Tensor grad_x, grad_w;
    if (grads.wants(0)) grad_x = matmul(grad, w);
    if (grads.wants(1)) {
      const Tensor rows = rows_of(grad);
      const Tensor turned = t(rows);
      const Tensor given = rows_of(x);
      grad_w = matmul(turned, given);
    }
    if (grads.wants(2))
      grads.set(2, make(grads.session(), "aten.sum.dim_IntList", {grad.size(-1)}, grad.dtype()));
    grads.set(0, grad_x);
    grads.set(1, grad_w);
  };
}

}  // namespace

Tensor zero3_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Tensor out;
  {
    const NoGrad off(x.session());
    const Tensor wt = t(weight);
    if (x.dims() == 2 && bias) {
      out = addmm(bias, x, wt);
    } else {
      out = matmul(x, wt);
      if (bias) x.session().ledger.note("aten.add_.Tensor");
    }
  }
  if (!tracks({&x, &weight, &bias})) return out;
  const Saved input(x), kept_weight(weight);
  const Saved kept_bias = bias ? Saved(bias) : Saved();
  record({&out}, {&x, &weight, &bias}, backward_of(input, kept_weight, kept_bias));
  return out;
}

}  // namespace memplan::aten
