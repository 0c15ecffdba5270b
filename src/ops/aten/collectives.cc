#include "ops/aten/collectives.h"

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

// The functional collective writes a tensor of its own; waiting hands it on, but the CPU's tracers
// see a second one.
Tensor summed(const Tensor& x) {
  Session& s = x.session();
  Tensor out = make(s, "_c10d_functional.all_reduce.default", x.sizes(), x.dtype());
  if (s.fake_tensors) out = make(s, "_c10d_functional.wait_tensor.default", x.sizes(), x.dtype());
  return out;
}

}  // namespace

Tensor replicate(const Tensor& x) {
  if (!tracks(x)) return x;
  Tensor out = alias(x, x.sizes(), x.strides());
  record({&out}, {&x}, [](Grads& grads) { grads.set(0, summed(grads.in())); });
  return out;
}

Tensor all_reduce(const Tensor& x) {
  Tensor out = summed(x);
  if (tracks(x)) record({&out}, {&x}, [](Grads& grads) { grads.set(0, grads.in()); });
  return out;
}

}  // namespace memplan::aten
