// Operators that write into a tensor or repeat it, and the solution of linear systems.
#include <vector>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {

namespace {

Tensor put(Tensor out, const Tensor& indices, const Tensor& values) {
  if (!tracks(values)) return out;
  const Saved kept(indices);
  record({&out}, {&values}, [kept, sizes = values.sizes()](Grads& g) {
    const Tensor at = kept.get();
    g.set(0, make(g.session(), "aten.index.Tensor", sizes, g.in().dtype()));
  });
  return out;
}

}  // namespace

Tensor index_put_in_place(const Tensor& x, const Tensor& indices, const Tensor& values) {
  x.session().ledger.note("aten.index_put_.default");
  return put(x.detach(), indices, values);
}

Tensor index_put(const Tensor& x, const Tensor& indices, const Tensor& values) {
  return put(make(x.session(), "aten.index_put.default", x.sizes(), x.dtype()), indices, values);
}

// Backward picks the blocks out of the gradient and stacks them.
Tensor block_diagonal(const Tensor& x) {
  const int64_t n = x.size(0);
  Tensor out = make(x.session(), "aten.block_diag.default",
                    {checked_mul(n, x.size(1)), checked_mul(n, x.size(2))}, x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [sizes = x.sizes()](Grads& g) {
      g.set(0, make(g.session(), "aten.stack.default", sizes, g.in().dtype()));
    });
  return out;
}

Tensor index_copy(const Tensor& x, const Tensor& indices, const Tensor& rows) {
  const bool tracked = tracks(rows);
  Saved kept, source;
  if (tracked) {
    kept = Saved(indices);
    source = Saved(rows);  // for its sizes alone
  }
  Tensor out = make(x.session(), "aten.index_copy.default", x.sizes(), x.dtype());
  if (tracked)
    record({&out}, {&rows}, [kept, source](Grads& g) {
      const Tensor at = kept.get();
      const Shape sizes = source.get().sizes();
      g.set(0, make(g.session(), "aten.index_select.default", sizes, g.in().dtype()));
    });
  return out;
}

// FunctionsManual.cpp, repeat_backward: the gradient as [times, size, …], summed over the times.
Tensor repeat(const Tensor& x, std::initializer_list<int64_t> times) {
  Shape sizes = x.sizes();
  int at = 0;
  for (int64_t n : times) {
    sizes[at] = checked_mul(sizes[at], n);
    ++at;
  }
  Tensor out = make(x.session(), "aten.repeat.default", sizes, x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [from = x.sizes(), full = sizes](Grads& g) {
      if (from == full) return g.set(0, g.in());
      g.set(0, make(g.session(), "aten.sum.dim_IntList", from, g.in().dtype()));
    });
  return out;
}

// _linalg_solve_ex keeps A, the result, LU and the pivots; backward solves with them
// (FunctionsManual.cpp, linalg_solve_backward).
Tensor solve_right(const Tensor& a, const Tensor& b) {
  Session& session = a.session();
  const bool tracked = tracks({&a, &b});
  Tensor out = allocate(session, b.sizes(), b.dtype());
  Tensor lu = allocate(session, a.sizes(), a.dtype());
  const int64_t systems = a.dims() > 2 ? a.size(0) : 1;
  Tensor pivots = allocate(session, {systems, a.size(-1)}, DType::i32);
  const Tensor info = allocate(session, {systems}, DType::i32);
  session.ledger.note("aten._linalg_solve_ex.default");
  if (!tracked) return out;
  const Saved ka(a), klu(lu), kpivots(pivots), kout(out);
  lu.reset();
  pivots.reset();
  record({&out}, {&a, &b}, [ka, klu, kpivots, kout](Grads& g) {
    const Tensor factors = klu.get();
    const Tensor order = kpivots.get();
    const Tensor result = kout.get();
    const Tensor of_b =
        make(g.session(), "aten.linalg_lu_solve.default", g.in().sizes(), g.in().dtype());
    g.set(1, of_b);
    if (!g.wants(0)) return;
    const Tensor product = matmul(transpose(result, -2, -1), of_b);
    g.set(0, pointwise("aten.neg.default", {&product}, product.dtype()));
  });
  return out;
}

}  // namespace memplan::aten
