// Operators that pick rows and experts: topk, gather, sort, indexing, grouped products.
//
// While a TorchDispatchMode watches, formulas that would write into zeros of their own make a new
// tensor instead (areAnyTensorSubclassLike in torch/csrc/autograd/FunctionsManual.cpp).
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

// zeros(sizes) with a gradient written into it.
Tensor into_zeros(Session& session, const Shape& sizes, DType dtype, std::string_view watched,
                  std::string_view in_place) {
  Tensor zeros = make(session, "aten.new_zeros.default", sizes, dtype);
  if (session.watched) return make(session, watched, sizes, dtype);
  session.ledger.note(in_place);
  return zeros;
}

// value_selecting_reduction_backward: of topk, max and sort.
Backward scatter_back(const Saved& indices, const Shape& full) {
  return [indices, full](Grads& g) {
    const Tensor at = indices.get();
    g.set(0,
          into_zeros(g.session(), full, g.in().dtype(), "aten.scatter.src", "aten.scatter_.src"));
  };
}

Selected selected(const Tensor& x, std::string_view op, int64_t count) {
  Shape sizes = x.sizes();
  sizes[-1] = count;
  Selected out{allocate(x.session(), sizes, x.dtype()), allocate(x.session(), sizes, DType::i64)};
  x.session().ledger.note(op);
  if (tracks(x)) record({&out.values}, {&x}, scatter_back(Saved(out.indices), x.sizes()));
  return out;
}

// Keeps the rows' numbers; their gradients are added into zeros.
Tensor rows_of(const Tensor& x, const Tensor& rows, std::string_view op, std::string_view watched,
               std::string_view in_place) {
  const bool tracked = tracks(x);
  Saved kept;
  if (tracked) kept = Saved(rows);
  Shape sizes = x.sizes();
  sizes[0] = rows.elements();
  Tensor out = make(x.session(), op, sizes, x.dtype());
  if (tracked)
    record({&out}, {&x}, [kept, watched, in_place, full = x.sizes()](Grads& g) {
      const Tensor at = kept.get();
      g.set(0, into_zeros(g.session(), full, g.in().dtype(), watched, in_place));
    });
  return out;
}

// Rows of an output of grouped_mm start at 16 bytes
// (aten/src/ATen/native/GroupedMMUtils.h, create_grouped_gemm_output_tensor).
Tensor grouped(const Tensor& a, const Shape& sizes) {
  const int64_t step = 16 / size_of(a.dtype());
  Shape strides = sizes;
  strides[-1] = 1;
  strides[-2] = ceil_div(sizes[-1], step) * step;
  if (sizes.dims == 3) strides[0] = checked_mul(sizes[1], strides[1]);
  Tensor out = allocate(a.session(), sizes, strides, a.dtype());
  a.session().ledger.note("aten._grouped_mm.default");
  return out;
}

bool column_major(const Tensor& x) { return x.strides()[-2] == 1 && x.strides()[-1] >= x.size(-2); }

}  // namespace

Selected topk(const Tensor& x, int64_t count) { return selected(x, "aten.topk.default", count); }
Selected max_last(const Tensor& x) { return selected(x, "aten.max.dim", 1); }

Selected sort(const Tensor& x) { return selected(x, "aten.sort.default", x.size(-1)); }

Tensor gather(const Tensor& x, const Tensor& indices) {
  const bool tracked = tracks(x);
  Saved kept, whole;
  if (tracked) {
    kept = Saved(indices);
    whole = Saved(x);  // for its sizes alone
  }
  Tensor out = make(x.session(), "aten.gather.default", indices.sizes(), x.dtype());
  if (tracked)
    record({&out}, {&x}, [kept, whole](Grads& g) {
      const Tensor at = kept.get();
      const Tensor self = whole.get();
      g.set(0, into_zeros(g.session(), self.sizes(), g.in().dtype(), "aten.scatter_add.default",
                          "aten.scatter_add_.default"));
    });
  return out;
}

Tensor index_rows(const Tensor& x, const Tensor& rows) {
  return rows_of(x, rows, "aten.index.Tensor", "aten.index_put.default",
                 "aten._index_put_impl_.default");
}
Tensor index_select(const Tensor& x, const Tensor& rows) {
  return rows_of(x, rows, "aten.index_select.default", "aten.index_add.default",
                 "aten.index_add_.default");
}

Tensor index_copy_columns(const Tensor& x, const Tensor& index, const Tensor& source) {
  const bool tracked = tracks({&x, &source});
  Saved kept, ks;
  if (tracked) kept = Saved(index);
  if (tracks(source)) ks = Saved(source);  // its backward asks for its sizes
  Tensor out = allocate(x.session(), x.sizes(), x.dtype());
  x.session().ledger.note("aten.index_copy.default");
  if (tracked)
    record({&out}, {&x, &source}, [kept, ks](Grads& g) {
      const Tensor columns = kept.get();
      const Tensor shape = ks.get();
      if (g.wants(0))
        g.set(0, make(g.session(), "aten.index_fill.int_Scalar", g.in().sizes(), g.in().dtype()));
      g.set(1, make(g.session(), "aten.index_select.default", {g.in().size(0), columns.size(0)},
                    g.in().dtype()));
    });
  return out;
}

Tensor masked_fill_in_place(const Tensor& x, const Tensor& mask) {
  x.session().ledger.note("aten.masked_fill_.Scalar");
  if (!tracks(x)) return x;
  const Saved kept(mask);
  Tensor out = x.detach();
  record({&out}, {&x}, [kept](Grads& g) {
    const Tensor m = kept.get();
    g.set(0, pointwise("aten.masked_fill.Scalar", {&g.in(), &m}, g.in().dtype()));
  });
  return out;
}

Tensor div_in_place(const Tensor& x, const Tensor& y) {
  const bool tracked = tracks({&x, &y});
  Saved kx, ky;
  if (tracks(y)) kx = Saved(clone(x.detach()));  // x as it was
  if (tracked) ky = Saved(y);
  x.session().ledger.note("aten.div_.Tensor");
  if (!tracked) return x;
  Tensor out = x.detach();
  record({&out}, {&x, &y}, div_backward(kx, ky));
  return out;
}

Tensor clamp(const Tensor& x, bool both_ends) {
  const bool tracked = tracks(x);
  Saved kept;
  if (tracked) kept = Saved(x);
  Tensor out = pointwise("aten.clamp.default", {&x}, x.dtype());
  if (tracked)
    record({&out}, {&x}, [kept, both_ends](Grads& g) {  // where(inside, grad, 0)
      const Tensor self = kept.get();
      const Tensor zero = make(g.session(), "aten.scalar_tensor.default", {}, g.in().dtype());
      Tensor inside;
      if (both_ends) inside = pointwise("aten.gt.Scalar", {&self}, DType::boolean);
      const Tensor below = pointwise("aten.lt.Scalar", {&self}, DType::boolean);
      if (!inside) inside = below;
      g.set(0, pointwise("aten.where.self", {&inside, &g.in(), &zero}, g.in().dtype()));
    });
  return out;
}

Tensor mul_complex(const Tensor& x, const Tensor& constants) {
  const bool tracked = tracks(x);
  Saved kept;
  if (tracked) kept = Saved(constants);
  Tensor out = pointwise("aten.mul.Tensor", {&x, &constants}, x.dtype());
  if (tracked)
    record({&out}, {&x}, [kept](Grads& g) {  // by the conjugates, which become a tensor
      const Tensor c = kept.get();
      const Tensor conjugates = clone(c);
      g.set(0, pointwise("aten.mul.Tensor", {&g.in(), &conjugates}, g.in().dtype()));
    });
  return out;
}

Tensor pad_last(const Tensor& x, int64_t size) {
  Shape sizes = x.sizes();
  sizes[-1] = size;
  Tensor out = make(x.session(), "aten.constant_pad_nd.default", sizes, x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [from = x.sizes()](Grads& g) {
      const Tensor inner = alias(g.in(), from, g.in().strides());
      g.set(0, clone(inner));
    });
  return out;
}

Tensor grouped_mm(const Tensor& x, const Tensor& weight, const Tensor& offsets) {
  const bool tracked = tracks({&x, &weight});
  Saved kx, kw, ko;
  if (tracked) {
    if (tracks(x)) kw = Saved(weight);
    ko = Saved(offsets);
    if (tracks(weight)) kx = Saved(x);
  }
  Tensor out = grouped(x, {x.size(0), weight.size(-1)});
  // The gradient of an operand that lies column by column is made so too, as of mm
  // (_grouped_mm_mat1_backward, _grouped_mm_mat2_backward).
  if (tracked)
    record({&out}, {&x, &weight},
           [kx, kw, ko, rows = x.sizes(), full = weight.sizes(),
            columns = column_major(weight)](Grads& g) {
             const Tensor at = ko.get();
             if (g.wants(1)) {
               const Tensor input = kx.get();
               const Shape flipped{full[0], full[2], full[1]};
               g.set(1,
                     columns ? transpose(grouped(g.in(), flipped), -2, -1) : grouped(g.in(), full));
             }
             if (g.wants(0)) {
               const Tensor w = kw.get();
               g.set(0, grouped(g.in(), rows));
             }
           });
  return out;
}

}  // namespace memplan::aten
