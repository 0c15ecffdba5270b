// Sums and means (aten/src/ATen/native/ReduceOps.cpp).
#include <string_view>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

// derivatives.yaml of 2.0 asks the input of a mean for its number of elements by sym_numel, in
// whose place the generator keeps all of it; not in 1.13, nor from 2.1 on.
bool mean_keeps_input(const Tensor& x) { return x.session().torch < Version{2, 1, 0}; }

Tensor reduce_last(const Tensor& x, std::string_view op, bool divides) {
  Shape sizes = x.sizes();
  sizes[-1] = 1;
  Tensor out = allocate(x.session(), sizes, x.dtype());
  x.session().ledger.note(op);
  Saved kept;
  if (divides && tracks(x) && mean_keeps_input(x)) kept = Saved(x);
  if (tracks(x))
    record({&out}, {&x}, [kept, full = x.sizes(), divides](Grads& g) {
      Shape strides = g.in().strides();
      strides[-1] = 0;
      const Tensor wide = alias(g.in(), full, strides);
      g.set(0, divides ? pointwise("aten.div.Scalar", {&wide}, wide.dtype()) : wide);
    });
  return out;
}

}  // namespace

Tensor mean_last(const Tensor& x) { return reduce_last(x, "aten.mean.dim", true); }
Tensor sum_last(const Tensor& x) { return reduce_last(x, "aten.sum.dim_IntList", false); }

Tensor sum_dim(const Tensor& x, int dim) {
  Shape sizes;
  for (int i = 0; i < x.dims(); ++i)
    if (i != (dim + x.dims()) % x.dims()) sizes.at[static_cast<size_t>(sizes.dims++)] = x.size(i);
  Tensor out = allocate(x.session(), sizes, x.dtype());
  x.session().ledger.note("aten.sum.dim_IntList");
  if (tracks(x))
    record({&out}, {&x},
           [full = x.sizes(), dim](Grads& g) { g.set(0, expand(unsqueeze(g.in(), dim), full)); });
  return out;
}

Tensor sum(const Tensor& x) {
  const bool counts = x.dtype() == DType::boolean || x.dtype() == DType::i64;
  Tensor out = make(x.session(), "aten.sum.default", {}, counts ? DType::i64 : x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [full = x.sizes()](Grads& g) { g.set(0, expand(g.in(), full)); });
  return out;
}

Tensor mean(const Tensor& x) {
  Tensor out = allocate(x.session(), {}, x.dtype());
  x.session().ledger.note("aten.mean.default");
  if (tracks(x))
    record({&out}, {&x}, [full = x.sizes()](Grads& g) {
      const Tensor wide = expand(g.in(), full);
      g.set(0, pointwise("aten.div.Scalar", {&wide}, wide.dtype()));
    });
  return out;
}

Tensor mean_first(const Tensor& x) {
  Shape sizes;
  for (int i = 1; i < x.dims(); ++i) sizes.at[static_cast<size_t>(sizes.dims++)] = x.size(i);
  Tensor out = make(x.session(), "aten.mean.dim", sizes, x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [full = x.sizes()](Grads& g) {
      const Tensor wide = expand(unsqueeze(g.in(), 0), full);
      g.set(0, make(g.session(), "aten.div.Scalar", full, wide.dtype()));
    });
  return out;
}

}  // namespace memplan::aten
