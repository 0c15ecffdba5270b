#include <algorithm>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

Tensor with_backward(Tensor out, const Tensor& x, Backward backward) {
  if (tracks(x)) record({&out}, {&x}, std::move(backward));
  return out;
}

// at::detail::computeStride: the strides of a view of these sizes, or dims -1 where it needs a
// copy.
Shape view_strides(const Tensor& x, const Shape& sizes) {
  Shape out = sizes;
  if (x.elements() == 0) return contiguous_strides(sizes);
  int next = sizes.dims - 1;
  int64_t base = x.dims() == 0 ? 1 : x.strides()[-1], chunk = 1, placed = 1;
  for (int i = x.dims() - 1; i >= 0; --i) {
    chunk *= x.size(i);
    const bool ends = i == 0 || (x.size(i - 1) != 1 && x.strides()[i - 1] != chunk * base);
    if (!ends) continue;
    while (next >= 0 && (placed < chunk || sizes[next] == 1)) {
      out[next] = placed * base;
      placed *= sizes[next];
      --next;
    }
    if (placed != chunk) return Shape{};
    if (i > 0) {
      base = x.strides()[i - 1];
      chunk = placed = 1;
    }
  }
  return out;
}

}  // namespace

bool viewable(const Tensor& x, const Shape& sizes) {
  return sizes.dims == 0 || view_strides(x, sizes).dims == sizes.dims;
}

Tensor view(const Tensor& x, const Shape& sizes) {
  Shape strides = view_strides(x, sizes);
  if (strides.dims != sizes.dims) strides = contiguous_strides(sizes);
  return with_backward(alias(x, sizes, strides), x,
                       [from = x.sizes()](Grads& g) { g.set(0, reshape(g.in(), from)); });
}

Tensor reshape(const Tensor& x, const Shape& sizes) {
  if (viewable(x, sizes)) return view(x, sizes);
  const Tensor copy = clone(x);
  return view(copy, sizes);
}

Tensor transpose(const Tensor& x, int a, int b) {
  Shape sizes = x.sizes(), strides = x.strides();
  std::swap(sizes[a], sizes[b]);
  std::swap(strides[a], strides[b]);
  return with_backward(alias(x, sizes, strides), x,
                       [a, b](Grads& g) { g.set(0, transpose(g.in(), a, b)); });
}

Tensor t(const Tensor& x) { return transpose(x, 0, 1); }

Tensor permute(const Tensor& x, std::initializer_list<int> order) {
  Shape sizes = x.sizes(), strides = x.strides();
  std::array<int, Shape::kMaxDims> inverse{};
  int at = 0;
  for (int from : order) {
    sizes[at] = x.size(from);
    strides[at] = x.strides()[from];
    inverse[static_cast<size_t>(from)] = at++;
  }
  return with_backward(alias(x, sizes, strides), x, [inverse](Grads& g) {
    const Tensor& grad = g.in();
    Shape back = grad.sizes(), steps = grad.strides();
    for (int i = 0; i < grad.dims(); ++i) {
      back[i] = grad.size(inverse[static_cast<size_t>(i)]);
      steps[i] = grad.strides()[inverse[static_cast<size_t>(i)]];
    }
    g.set(0, alias(grad, back, steps));
  });
}

Tensor expand(const Tensor& x, const Shape& sizes) {
  Shape strides = sizes;
  const int lead = sizes.dims - x.dims();
  for (int i = 0; i < sizes.dims; ++i)
    strides[i] = i < lead || (x.size(i - lead) == 1 && sizes[i] != 1) ? 0 : x.strides()[i - lead];
  // The gradient is summed to the input's shape, as that of every broadcast input.
  return with_backward(alias(x, sizes, strides), x, [](Grads& g) { g.set(0, g.in()); });
}

Tensor unsqueeze(const Tensor& x, int dim) {
  if (dim < 0) dim += x.dims() + 1;
  Shape sizes, strides;
  sizes.dims = strides.dims = x.dims() + 1;
  for (int i = 0; i < sizes.dims; ++i) {
    sizes[i] = i < dim ? x.size(i) : i == dim ? 1 : x.size(i - 1);
    strides[i] = i < dim ? x.strides()[i] : i == dim ? 1 : x.strides()[i - 1];
  }
  if (dim < x.dims()) strides[dim] = checked_mul(x.size(dim), x.strides()[dim]);
  return with_backward(alias(x, sizes, strides), x,
                       [dim](Grads& g) { g.set(0, squeeze(g.in(), dim)); });
}

Tensor squeeze(const Tensor& x, int dim) {
  if (dim < 0) dim += x.dims();
  Shape sizes, strides;
  for (int i = 0; i < x.dims(); ++i)
    if (i != dim) {
      sizes.at[static_cast<size_t>(sizes.dims++)] = x.size(i);
      strides.at[static_cast<size_t>(strides.dims++)] = x.strides()[i];
    }
  return with_backward(alias(x, sizes, strides), x,
                       [dim](Grads& g) { g.set(0, unsqueeze(g.in(), dim)); });
}

Tensor slice(const Tensor& x, int dim, int64_t, int64_t length, int64_t step) {
  Shape sizes = x.sizes(), strides = x.strides();
  sizes[dim] = length;
  strides[dim] = checked_mul(strides[dim], step);
  return with_backward(alias(x, sizes, strides), x, [full = x.sizes()](Grads& g) {
    Tensor out = allocate(g.session(), full, g.in().dtype());
    g.session().ledger.note("aten.slice_backward.default");
    g.set(0, std::move(out));
  });
}

// ATen/TensorIndexing.h, applySlice: a slice to the end is none where the length is compared by
// sym_le; by sym_eq it is one, whose backward copies.
Tensor every(const Tensor& x, int count) {
  constexpr Version kSkipsWholeSlices{2, 9, 0};
  Tensor out = x;
  if (x.session().torch < kSkipsWholeSlices)
    for (int i = 0; i < count; ++i) out = slice(out, -1, 0, out.size(-1));
  return out;
}

Tensor select(const Tensor& x, int dim) {
  if (dim < 0) dim += x.dims();
  Shape sizes, strides;
  for (int i = 0; i < x.dims(); ++i)
    if (i != dim) {
      sizes.at[static_cast<size_t>(sizes.dims++)] = x.size(i);
      strides.at[static_cast<size_t>(strides.dims++)] = x.strides()[i];
    }
  return with_backward(alias(x, sizes, strides), x, [full = x.sizes()](Grads& g) {
    Tensor out = allocate(g.session(), full, g.in().dtype());
    g.session().ledger.note("aten.select_backward.default");
    g.set(0, std::move(out));
  });
}

Tensor index_pairs(const Tensor& x, const Tensor& rows, const Tensor& columns) {
  Saved first, second;
  if (tracks(x)) {
    first = Saved(rows);
    second = Saved(columns);
  }
  Tensor out = allocate(x.session(), {rows.size(0), x.size(-1)}, x.dtype());
  x.session().ledger.note("aten.index.Tensor");
  return with_backward(out, x, [first, second, full = x.sizes()](Grads& g) {
    const Tensor zeros = make(g.session(), "aten.new_zeros.default", full, g.in().dtype());
    g.set(0, make(g.session(), "aten.index_put.default", full, g.in().dtype()));
  });
}

std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& lengths, int dim) {
  std::vector<Tensor> out;
  for (int64_t length : lengths) {
    Shape sizes = x.sizes();
    sizes[dim] = length;
    out.push_back(alias(x, sizes, x.strides()));
  }
  if (!tracks(x)) return out;
  record(out, std::span(&x, 1), [sizes = x.sizes(), lengths, dim, dtype = x.dtype()](Grads& g) {
    std::vector<Tensor> parts;
    for (size_t i = 0; i < lengths.size(); ++i) {
      Tensor part = g.in(static_cast<int>(i));
      if (!part) {
        Shape own = sizes;
        own[dim] = lengths[i];
        part = make(g.session(), "aten.zeros.default", own, dtype);
      }
      parts.push_back(std::move(part));
    }
    g.set(0, cat(parts, dim));
  });
  return out;
}

Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : clone(x); }

Tensor cat(std::span<const Tensor> given, int dim) {
  // Autocast on the CPU casts to the widest dtype first (autocast_mode.cpp, KERNEL_CPU(cat)).
  Session& session = given.front().session();
  std::vector<Tensor> wide;
  if (session.autocast && session.backend == Backend::cpu) {
    DType widest = given.front().dtype();
    for (const Tensor& part : given) widest = promote(widest, part.dtype());
    for (const Tensor& part : given) wide.push_back(to(part, widest));
  }
  const std::span<const Tensor> parts = wide.empty() ? given : wide;
  Shape sizes = parts.front().sizes();
  DType dtype = parts.front().dtype();
  sizes[dim] = 0;
  bool tracked = false;
  std::vector<int64_t> lengths;
  for (const Tensor& part : parts) {
    sizes[dim] = checked_add(sizes[dim], part.size(dim));
    lengths.push_back(part.size(dim));
    dtype = promote(dtype, part.dtype());
    tracked |= tracks(part);
  }
  Tensor out = allocate(parts.front().session(), sizes, dtype);
  out.session().ledger.note("aten.cat.default");
  if (tracked)
    record(std::span(&out, 1), parts, [lengths, dim](Grads& g) {
      for (size_t i = 0; i < lengths.size(); ++i) {
        if (!g.wants(static_cast<int>(i))) continue;
        Shape own = g.in().sizes();
        own[dim] = lengths[i];
        g.set(static_cast<int>(i), alias(g.in(), own, g.in().strides()));
      }
    });
  return out;
}

Tensor stack_last(const Tensor& a, const Tensor& b) {
  Shape sizes = a.sizes();
  sizes.at[static_cast<size_t>(sizes.dims++)] = 2;
  Tensor out = allocate(a.session(), sizes, a.dtype());
  a.session().ledger.note("aten.stack.default");
  if (!tracks({&a, &b})) return out;
  record({&out}, {&a, &b}, [](Grads& g) {  // unbind
    for (int i = 0; i < 2; ++i) g.set(i, select(g.in(), -1));
  });
  return out;
}

}  // namespace memplan::aten
