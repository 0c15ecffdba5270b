#include <algorithm>
#include <string>

#include "memplan/error.h"
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

Shape broadcast(std::initializer_list<const Tensor*> inputs) {
  Shape out;
  for (const Tensor* x : inputs) out.dims = std::max(out.dims, x->dims());
  for (int i = 0; i < out.dims; ++i) out[i] = 1;
  for (const Tensor* x : inputs) {
    const int lead = out.dims - x->dims();
    for (int i = 0; i < x->dims(); ++i)
      if (x->size(i) != 1) out[i + lead] = x->size(i);
  }
  return out;
}

int64_t stride_in(const Tensor& x, const Shape& out, int dim) {
  const int own = dim - (out.dims - x.dims());
  if (own < 0 || (x.size(own) == 1 && out[dim] != 1)) return 0;
  return x.strides()[own];
}

// > 0: a is to come after b; 0: the inputs do not say.
int compare(std::initializer_list<const Tensor*> inputs, const Shape& out, int a, int b) {
  for (const Tensor* x : inputs) {
    const int64_t sa = stride_in(*x, out, a), sb = stride_in(*x, out, b);
    if (sa == 0 || sb == 0) continue;
    if (sa < sb) return -1;
    if (sa > sb) return 1;
    if (out[a] > out[b]) return 1;
  }
  return 0;
}

Shape iterator_strides(std::initializer_list<const Tensor*> inputs, const Shape& out) {
  std::array<int, Shape::kMaxDims> order{};  // fastest first
  for (int i = 0; i < out.dims; ++i) order[static_cast<size_t>(i)] = out.dims - 1 - i;
  for (int i = 1; i < out.dims; ++i) {
    int at = i;
    for (int j = i - 1; j >= 0; --j) {
      int& slow = order[static_cast<size_t>(at)];
      int& fast = order[static_cast<size_t>(j)];
      const int sign = compare(inputs, out, fast, slow);
      if (sign > 0) {
        std::swap(fast, slow);
        at = j;
      } else if (sign < 0) {
        break;
      }
    }
  }
  Shape strides = out;
  int64_t step = 1;
  for (int i = 0; i < out.dims; ++i) {
    const int dim = order[static_cast<size_t>(i)];
    strides[dim] = step;
    step = checked_mul(step, std::max<int64_t>(out[dim], 1));
  }
  return strides;
}

// A unary operator that keeps its input or its result for one backward kernel.
enum class Keeps : uint8_t { input, result };
Tensor unary(const Tensor& x, std::string_view op, std::string_view backward, Keeps keeps) {
  const bool tracked = tracks(x);
  Saved kept;
  if (tracked && keeps == Keeps::input) kept = Saved(x);
  Tensor out = pointwise(op, {&x}, x.dtype());
  if (!tracked) return out;
  if (keeps == Keeps::result) kept = Saved(out);
  record({&out}, {&x}, [kept, backward](Grads& g) {
    const Tensor saved = kept.get();
    g.set(0, pointwise(backward, {&g.in(), &saved}, g.in().dtype()));
  });
  return out;
}

Tensor scalar_op(const Tensor& x, std::string_view op, std::string_view backward) {
  Tensor out = pointwise(op, {&x}, x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [backward](Grads& g) {
      g.set(0, backward.empty() ? g.in() : pointwise(backward, {&g.in()}, g.in().dtype()));
    });
  return out;
}

Tensor sum_kind(const Tensor& a, const Tensor& b, std::string_view op, bool negates) {
  Tensor out = pointwise(op, {&a, &b}, promote(a.dtype(), b.dtype()));
  if (tracks({&a, &b}))
    record({&out}, {&a, &b}, [negates](Grads& g) {
      if (g.wants(1))
        g.set(1, negates ? pointwise("aten.neg.default", {&g.in()}, g.in().dtype()) : g.in());
      if (g.wants(0)) g.set(0, g.in());
    });
  return out;
}

}  // namespace

Tensor pointwise(std::string_view op, std::initializer_list<const Tensor*> inputs, DType dtype) {
  Session& session = (*inputs.begin())->session();
  const Shape sizes = broadcast(inputs);
  Tensor out = allocate(session, sizes, iterator_strides(inputs, sizes), dtype);
  session.ledger.note(op);
  return out;
}

DType promote(DType a, DType b) {
  if (a == b) return a;
  const auto is_float = [](DType d) {
    return d == DType::f32 || d == DType::f64 || d == DType::bf16 || d == DType::f16;
  };
  if (!is_float(a)) return is_float(b) || size_of(b) >= size_of(a) ? b : a;
  if (!is_float(b)) return a;
  if (a == DType::f64 || b == DType::f64) return DType::f64;
  return DType::f32;  // of two different 16-bit types too
}

Tensor to(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor out = pointwise("aten._to_copy.default", {&x}, dtype);
  if (tracks(x)) record({&out}, {&x}, [from = x.dtype()](Grads& g) { g.set(0, to(g.in(), from)); });
  return out;
}

Tensor add(const Tensor& a, const Tensor& b) { return sum_kind(a, b, "aten.add.Tensor", false); }
Tensor sub(const Tensor& a, const Tensor& b) { return sum_kind(a, b, "aten.sub.Tensor", true); }

Tensor add_in_place(Tensor x, const Tensor& y, Alpha alpha) {
  x.session().ledger.note("aten.add_.Tensor");
  if (!tracks({&x, &y})) return x;
  Tensor out = x.detach();
  record({&out}, {&x, &y}, [alpha](Grads& g) {
    if (g.wants(1))
      g.set(1,
            alpha == Alpha::one ? g.in() : pointwise("aten.mul.Scalar", {&g.in()}, g.in().dtype()));
    if (g.wants(0)) g.set(0, g.in());
  });
  return out;
}

Tensor mul(const Tensor& a, const Tensor& b) {
  Saved ka, kb;
  if (tracks(a)) kb = Saved(b);
  if (tracks(b)) ka = Saved(a);
  Tensor out = pointwise("aten.mul.Tensor", {&a, &b}, promote(a.dtype(), b.dtype()));
  if (tracks({&a, &b}))
    record({&out}, {&a, &b}, [ka, kb](Grads& g) {
      const auto product = [&](int i, const Saved& other) {
        if (!g.wants(i)) return;
        const Tensor x = other.get();
        g.set(i, pointwise("aten.mul.Tensor", {&g.in(), &x}, promote(g.in().dtype(), x.dtype())));
      };
      product(1, ka);
      product(0, kb);
    });
  return out;
}

Backward div_backward(const Saved& ka, const Saved& kb) {
  return [ka, kb](Grads& g) {
    const Tensor other = kb.get();
    if (g.wants(1)) {  // -grad · ((self / other) / other)
      const Tensor self = ka.get();
      const Tensor once = pointwise("aten.div.Tensor", {&self, &other}, self.dtype());
      const Tensor twice = pointwise("aten.div.Tensor", {&once, &other}, self.dtype());
      const Tensor minus = pointwise("aten.neg.default", {&g.in()}, g.in().dtype());
      g.set(1, pointwise("aten.mul.Tensor", {&minus, &twice}, self.dtype()));
    }
    if (g.wants(0)) g.set(0, pointwise("aten.div.Tensor", {&g.in(), &other}, g.in().dtype()));
  };
}

Tensor div(const Tensor& a, const Tensor& b) {
  Saved ka, kb;
  if (tracks({&a, &b})) kb = Saved(b);
  if (tracks(b)) ka = Saved(a);
  Tensor out = pointwise("aten.div.Tensor", {&a, &b}, promote(a.dtype(), b.dtype()));
  if (tracks({&a, &b})) record({&out}, {&a, &b}, div_backward(ka, kb));
  return out;
}

Tensor add_scalar(const Tensor& x) { return scalar_op(x, "aten.add.Tensor", {}); }
Tensor mul_scalar(const Tensor& x) { return scalar_op(x, "aten.mul.Tensor", "aten.mul.Tensor"); }
Tensor div_scalar(const Tensor& x) { return scalar_op(x, "aten.div.Tensor", "aten.div.Tensor"); }
Tensor neg(const Tensor& x) { return scalar_op(x, "aten.neg.default", "aten.neg.default"); }

Tensor pow_scalar(const Tensor& x) {
  Saved kept;
  if (tracks(x)) kept = Saved(x);
  Tensor out = pointwise("aten.pow.Tensor_Scalar", {&x}, x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [kept](Grads& g) {  // grad · (exponent · self^(exponent - 1))
      const Tensor self = kept.get();
      const Tensor power = pointwise("aten.pow.Tensor_Scalar", {&self}, self.dtype());
      const Tensor scaled = pointwise("aten.mul.Scalar", {&power}, self.dtype());
      g.set(0, pointwise("aten.mul.Tensor", {&g.in(), &scaled}, self.dtype()));
    });
  return out;
}

Tensor rsqrt(const Tensor& x) {
  Tensor out = pointwise("aten.rsqrt.default", {&x}, x.dtype());
  if (tracks(x)) {
    const Saved kept(out);
    record({&out}, {&x}, [kept](Grads& g) {  // -0.5 · grad · result³
      const Tensor result = kept.get();
      Tensor cube = pointwise("aten.pow.Tensor_Scalar", {&result}, result.dtype());
      const Tensor half = pointwise("aten.mul.Scalar", {&g.in()}, result.dtype());
      g.set(0, pointwise("aten.mul.Tensor", {&half, &cube}, result.dtype()));
    });
  }
  return out;
}

Tensor tanh(const Tensor& x) {
  return unary(x, "aten.tanh.default", "aten.tanh_backward.default", Keeps::result);
}
Tensor sigmoid(const Tensor& x) {
  return unary(x, "aten.sigmoid.default", "aten.sigmoid_backward.default", Keeps::result);
}

namespace {

// 0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) (transformers/activations.py, NewGELU)
Tensor gelu_new(const Tensor& x) {
  const Tensor half = mul_scalar(x);
  Tensor inner = pow_scalar(x);
  inner = mul_scalar(inner);
  inner = add(x, inner);
  inner = mul_scalar(inner);
  inner = tanh(inner);
  inner = add_scalar(inner);
  return mul(half, inner);
}

}  // namespace

Tensor activation(const Tensor& x, std::string_view name) {
  if (name == "silu" || name == "swish")
    return unary(x, "aten.silu.default", "aten.silu_backward.default", Keeps::input);
  if (name == "gelu" || name == "gelu_pytorch_tanh" || name == "gelu_python")
    return unary(x, "aten.gelu.default", "aten.gelu_backward.default", Keeps::input);
  if (name == "relu")
    return unary(x, "aten.relu.default", "aten.threshold_backward.default", Keeps::result);
  if (name == "tanh") return tanh(x);
  if (name == "sigmoid") return sigmoid(x);
  if (name == "gelu_new") return gelu_new(x);
  throw Error(ErrorKind::not_modelled, "hidden_act",
              "what PyTorch keeps of activation '" + std::string(name) + "' is not modelled",
              "use --framework textbook");
}

Tensor softmax(const Tensor& x) {
  const bool tracked = tracks(x);
  Tensor out = allocate(x.session(), x.sizes(), x.dtype());
  x.session().ledger.note("aten._softmax.default");
  if (tracked) {
    const Saved kept(out);
    record({&out}, {&x}, [kept](Grads& g) {
      const Tensor result = kept.get();
      g.set(0,
            pointwise("aten._softmax_backward_data.default", {&g.in(), &result}, result.dtype()));
    });
  }
  return out;
}

// CUDA fuses the up-cast of fp16, not of bf16 (aten/src/ATen/native/SoftMax.cpp, softmax).
Tensor softmax_f32(const Tensor& x) {
  if (x.session().backend == Backend::cpu || x.dtype() != DType::f16) {
    const Tensor wide = to(x, DType::f32);
    return softmax(wide);
  }
  Tensor out = allocate(x.session(), x.sizes(), DType::f32);
  x.session().ledger.note("aten._softmax.default");
  if (tracks(x)) {
    const Saved kept(out);
    record({&out}, {&x}, [kept](Grads& g) {
      const Tensor result = kept.get();
      g.set(0, pointwise("aten._softmax_backward_data.default", {&g.in(), &result}, DType::f16));
    });
  }
  return out;
}

// native_dropout on CUDA keeps a mask of bytes; the CPU's composite keeps a mask of the input's
// dtype, made by bernoulli_ and div_ (aten/src/ATen/native/Dropout.cpp).
Tensor dropout(const Tensor& x, double p) {
  if (p <= 0) return x;
  Session& session = x.session();
  const bool cuda = session.backend == Backend::cuda;
  Tensor mask, out;
  if (cuda) {
    out = allocate(session, x.sizes(), x.is_dense() ? x.strides() : contiguous_strides(x.sizes()),
                   x.dtype());
    mask = allocate(session, out.sizes(), out.strides(), DType::boolean);
    session.ledger.note("aten.native_dropout.default");
  } else {
    mask = pointwise("aten.empty_like.default", {&x}, x.dtype());
  }
  Saved kept;
  const bool tracked = tracks(x);
  if (tracked) kept = Saved(mask);
  if (!cuda) out = pointwise("aten.mul.Tensor", {&x, &mask}, x.dtype());
  if (tracked)
    record({&out}, {&x}, [kept, cuda](Grads& g) {
      const Tensor m = kept.get();
      g.set(0, pointwise(cuda ? "aten.native_dropout_backward.default" : "aten.mul.Tensor",
                         {&g.in(), &m}, g.in().dtype()));
    });
  return out;
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  Saved kept;
  const bool tracked = tracks({&a, &b});
  if (tracked) kept = Saved(condition);
  Tensor out = pointwise("aten.where.self", {&condition, &a, &b}, promote(a.dtype(), b.dtype()));
  if (tracked)
    record({&out}, {&a, &b}, [kept](Grads& g) {
      const Tensor c = kept.get();
      for (int i : {1, 0})
        if (g.wants(i)) g.set(i, pointwise("aten.where.self", {&c, &g.in()}, g.in().dtype()));
    });
  return out;
}

Tensor masked_fill(const Tensor& x, const Tensor& mask) {
  Saved kept;
  const bool tracked = tracks(x);
  if (tracked) kept = Saved(mask);
  Tensor out = pointwise("aten.masked_fill.Scalar", {&x, &mask}, x.dtype());
  if (tracked)
    record({&out}, {&x}, [kept](Grads& g) {
      const Tensor m = kept.get();
      g.set(0, pointwise("aten.masked_fill.Scalar", {&g.in(), &m}, g.in().dtype()));
    });
  return out;
}

Tensor maximum_of_number(const Tensor& x) {
  const Tensor number = make(x.session(), "aten.lift_fresh.default", {}, DType::f32);
  Saved kept, other;
  if (tracks(x)) {
    kept = Saved(x);
    other = Saved(number);
  }
  Tensor out = pointwise("aten.maximum.default", {&x}, x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [kept, other](Grads& g) {  // half of it where both are equal
      const Tensor self = kept.get(), bound = other.get();
      const Tensor half = pointwise("aten.div.Scalar", {&g.in()}, g.in().dtype());
      const Tensor equal = pointwise("aten.eq.Tensor", {&self}, DType::boolean);
      Tensor grad = pointwise("aten.where.self", {&equal, &half, &g.in()}, g.in().dtype());
      const Tensor less = pointwise("aten.lt.Tensor", {&self}, DType::boolean);
      g.set(0, std::move(grad));
    });
  return out;
}

Tensor clone(const Tensor& x) {
  Tensor out = allocate(x.session(), x.sizes(), x.dtype());
  x.session().ledger.note("aten.clone.default");
  if (tracks(x)) record({&out}, {&x}, [](Grads& g) { g.set(0, g.in()); });
  return out;
}

Tensor make(Session& session, std::string_view op, const Shape& sizes, DType dtype) {
  Tensor out = allocate(session, sizes, dtype);
  session.ledger.note(op);
  return out;
}

}  // namespace memplan::aten
