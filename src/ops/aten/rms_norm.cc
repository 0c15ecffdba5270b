#include "ops/aten/rms_norm.h"

#include <utility>

#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

// aten/src/ATen/native/layer_norm.cpp: rms_norm_composite
Tensor rms_norm_composite(const Tensor& x, const Tensor& weight) {
  const DType inner = size_of(x.dtype()) == 2 ? DType::f32 : x.dtype();
  const Tensor upcasted = to(x, inner);
  Tensor inverse;
  {
    const Tensor power = pow_scalar(upcasted);
    inverse = rsqrt(mean_last(power));  // add_ of eps in place between the two
  }
  Tensor result = mul(upcasted, inverse);
  result = mul(result, weight);
  return to(result, x.dtype());
}

}  // namespace

// aten/src/ATen/native/layer_norm.cpp, rms_norm_symint, and cuda/layer_norm_kernel.cu.
Tensor rms_norm(const Tensor& x, const Tensor& weight) {
  Session& session = x.session();
  if (session.backend == Backend::cpu || x.dtype() != weight.dtype())
    return rms_norm_composite(x, weight);
  const bool tracked = tracks({&x, &weight});
  Saved kx, kw, kr;
  if (tracked) {
    kx = Saved(x);
    kw = Saved(weight);
  }
  Shape rows = x.sizes();
  rows[-1] = 1;
  Tensor out = allocate(session, x.sizes(), x.dtype());
  const Tensor rstd = allocate(session, rows, DType::f32);
  session.ledger.note("aten._fused_rms_norm.default");
  if (!tracked) return out;
  kr = Saved(rstd);
  record({&out}, {&x, &weight}, [kx, kw, kr](Grads& g) {
    const Tensor input = kx.get();
    const Tensor scale = kw.get();
    const Tensor r = kr.get();
    Tensor of_x, of_scale;
    if (g.wants(0)) of_x = allocate(g.session(), input.sizes(), input.dtype());
    if (g.wants(1)) of_scale = allocate(g.session(), scale.sizes(), scale.dtype());
    g.session().ledger.note("aten._fused_rms_norm_backward.default");
    g.set(0, std::move(of_x));
    g.set(1, std::move(of_scale));
  });
  return out;
}

}  // namespace memplan::aten
