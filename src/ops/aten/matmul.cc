#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

// op(a, b) of matrices or batches of them, without history.
Tensor raw(std::string_view op, const Tensor& a, const Tensor& b) {
  Shape sizes = a.sizes();
  sizes[-1] = b.size(-1);
  Tensor out = allocate(a.session(), sizes, a.dtype());
  a.session().ledger.note(op);
  return out;
}

// Batched products may be attention's, which a compiler may turn into one kernel.
ReadBy reader(const Tensor& x) { return x.dims() == 2 ? ReadBy::kernel : ReadBy::pointwise; }

Tensor swap_last(const Tensor& x) { return transpose(x, -2, -1); }

// mm_mat1_backward, mm_mat2_backward (torch/csrc/autograd/FunctionsManual.cpp): where an operand
// lies column by column its gradient is made so too, as the transpose of a product.
bool column_major(const Tensor& x) {
  return x.strides()[-2] == 1 && x.strides()[-1] == x.size(-2) && x.size(-1) != 1;
}
Tensor gradient(std::string_view op, bool columns, const Tensor& left, const Tensor& right) {
  if (columns) return swap_last(raw(op, swap_last(right), swap_last(left)));
  return raw(op, left, right);
}

// Gradients of a·b. PyTorch makes b's first.
Backward product_backward(std::string_view op, int first, Saved ka, Saved kb, const Tensor& b,
                          bool a_first) {
  return [=, columns = b.dims() == 2 && column_major(b)](Grads& g) {
    const auto of_b = [&] {
      if (!g.wants(first + 1)) return;
      const Tensor a = ka.get();
      g.set(first + 1, gradient(op, columns, swap_last(a), g.in()));
    };
    if (!a_first) of_b();
    if (g.wants(first)) {
      const Tensor right = kb.get();
      g.set(first, raw(op, g.in(), swap_last(right)));
    }
    if (a_first) of_b();
    if (first == 1 && g.wants(0)) g.set(0, g.in());  // addmm's bias, summed to its shape
  };
}

Tensor product(std::string_view op, const Tensor& a, const Tensor& b) {
  const bool tracked = tracks({&a, &b});
  Saved ka, kb;
  if (tracks(a)) kb = Saved(b, reader(b));
  if (tracks(b)) ka = Saved(a, reader(a));
  Tensor out = checkpointed_results(a.session(), op, [&] {
                 return std::vector<Tensor>{raw(op, a, b)};
               }).front();
  if (tracked) record({&out}, {&a, &b}, product_backward(op, 0, ka, kb, b, false));
  return out;
}

Shape with_last(Shape sizes, int64_t last) {
  sizes[-1] = last;
  return sizes;
}
Shape flat(const Tensor& x) { return {x.elements() / x.size(-1), x.size(-1)}; }

}  // namespace

Tensor mm(const Tensor& left, const Tensor& right) {
  Session& session = left.session();
  const Tensor b = session.cast_for_autocast(right);  // arguments are cast from the last on
  return product("aten.mm.default", session.cast_for_autocast(left), b);
}
Tensor bmm(const Tensor& left, const Tensor& right) {
  Session& session = left.session();
  const Tensor b = session.cast_for_autocast(right);
  return product("aten.bmm.default", session.cast_for_autocast(left), b);
}

Tensor addmm(const Tensor& bias, const Tensor& a, const Tensor& b) {
  const bool tracked = tracks({&bias, &a, &b});
  Saved ka, kb;
  if (tracks(b)) ka = Saved(a, reader(a));
  if (tracks(a)) kb = Saved(b, reader(b));
  Tensor out = raw("aten.addmm.default", a, b);
  if (tracked)
    record({&out}, {&bias, &a, &b}, product_backward("aten.mm.default", 1, ka, kb, b, true));
  return out;
}

// at::matmul (aten/src/ATen/native/LinearAlgebra.cpp): a matrix on the right folds into mm; else
// both sides are expanded to one batch dimension.
Tensor matmul(const Tensor& left, const Tensor& right) {
  Session& session = left.session();
  const Tensor b = session.cast_for_autocast(right);  // arguments are cast from the last on
  const Tensor a = session.cast_for_autocast(left);
  if (a.dims() == 2 && b.dims() == 2) return mm(a, b);
  if (b.dims() == 2) {
    const Tensor rows = reshape(a, flat(a));
    const Tensor out = mm(rows, b);
    return view(out, with_last(a.sizes(), b.size(-1)));
  }
  Shape batch = a.dims() >= b.dims() ? a.sizes() : b.sizes();
  const int dims = batch.dims;
  const auto batch_of = [&](const Tensor& x, int i) {
    const int own = i - (dims - x.dims());
    return own < 0 ? 1 : x.size(own);
  };
  int64_t batches = 1;
  for (int i = 0; i < dims - 2; ++i) {
    batch[i] = std::max(batch_of(a, i), batch_of(b, i));
    batches = checked_mul(batches, batch[i]);
  }
  const auto flatten = [&](const Tensor& x) {
    Shape full = batch;
    full[-2] = x.size(-2);
    full[-1] = x.size(-1);
    const Tensor wide = expand(x, full);
    return reshape(wide, {batches, x.size(-2), x.size(-1)});
  };
  const Tensor fa = flatten(a);
  const Tensor fb = flatten(b);
  const Tensor out = bmm(fa, fb);
  batch[-2] = a.size(-2);
  batch[-1] = b.size(-1);
  return view(out, batch);
}

// aten/src/ATen/native/Linear.cpp: with a bias, an input of up to three dimensions that is
// contiguous is folded for addmm; otherwise matmul, and the bias is added in place.
Tensor linear(const Tensor& input, const Tensor& w, const Tensor& b) {
  Session& session = input.session();
  Tensor bias;
  if (b) bias = session.cast_for_autocast(b);
  const Tensor weight = session.cast_for_autocast(w);
  const Tensor x = session.cast_for_autocast(input);
  if (!b) {
    const Tensor wt = t(weight);
    return matmul(x, wt);
  }
  if (x.dims() == 2) {
    const Tensor wt = t(weight);
    return addmm(bias, x, wt);
  }
  if (x.is_contiguous()) {
    const Tensor rows = view(x, flat(x));
    const Tensor wt = t(weight);
    const Tensor out = addmm(bias, rows, wt);
    return view(out, with_last(x.sizes(), weight.size(0)));
  }
  const Tensor wt = t(weight);
  return add_in_place(matmul(x, wt), bias);
}

// cuDNN's algorithms of kernels this small need no workspace worth counting; its copy of an input
// that does not lie row by row is counted.
Tensor convolution1d(const Tensor& x, const Tensor& weight, int64_t) {
  const bool tracked = tracks({&x, &weight});
  Saved kx, kw;
  if (tracked) {
    kx = Saved(x);
    kw = Saved(weight);
  }
  Tensor out = allocate(x.session(), {x.size(0), weight.size(0), x.size(2)}, x.dtype());
  x.session().ledger.note("aten.convolution.default");
  if (tracked)
    record({&out}, {&x, &weight}, [kx, kw](Grads& g) {
      const Tensor input = kx.get();
      const Tensor kernel = kw.get();
      Tensor of_x, of_kernel;
      if (g.wants(0)) of_x = allocate(g.session(), input.sizes(), input.dtype());
      if (g.wants(1)) of_kernel = allocate(g.session(), kernel.sizes(), kernel.dtype());
      g.session().ledger.note("aten.convolution_backward.default");
      g.set(0, std::move(of_x));
      g.set(1, std::move(of_kernel));
    });
  return out;
}

Tensor conv1d(const Tensor& input, const Tensor& w, const Tensor& b) {
  Session& session = input.session();
  const Tensor rows = view(input, flat(input));
  const Tensor weight = session.cast_for_autocast(w);
  const Tensor x = session.cast_for_autocast(rows);
  const Tensor bias = session.cast_for_autocast(b);
  const Tensor out = addmm(bias, x, weight);
  return view(out, with_last(input.sizes(), weight.size(1)));
}

}  // namespace memplan::aten
