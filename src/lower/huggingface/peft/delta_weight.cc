// Methods that make the whole change of the weight and multiply by it: LoHa (loha/layer.py), LoKr
// (lokr/layer.py).
#include "lower/huggingface/peft/method.h"

namespace memplan::hf::peft_forward {

using namespace aten;  // NOLINT

namespace {

// result + x·ΔWᵀ (loha/layer.py, LoHaLayer.forward)
Tensor add_delta(const Tensor& x, Tensor result, const Tensor& delta) {
  const DType dtype = x.dtype();
  const Tensor wide = to(x, delta.dtype());
  const Tensor change = aten::linear(wide, delta, {});
  result = add(result, change);
  return to(result, dtype);
}

// loha/layer.py, HadaWeight: keeps the four factors and makes both products again.
Tensor hadamard_weight(const Tensor& w1a, const Tensor& w1b, const Tensor& w2a, const Tensor& w2b) {
  Tensor out;
  {
    NoGrad off(w1a.session());
    const Tensor first = mm(w1a, w1b);
    const Tensor second = mm(w2a, w2b);
    const Tensor product = mul(first, second);
    out = mul_scalar(product);
  }
  if (!tracks({&w1a, &w1b, &w2a, &w2b})) return out;
  const Saved k1a(w1a), k1b(w1b), k2a(w2a), k2b(w2b);
  record({&out}, {&w1a, &w1b, &w2a, &w2b}, [k1a, k1b, k2a, k2b](Grads& g) {
    const Tensor grad = mul_scalar(g.in());
    Tensor other = mm(k2a.get(), k2b.get());
    Tensor part = mul(grad, other);
    other.reset();
    g.set(0, mm(part, t(k1b.get())));
    g.set(1, mm(t(k1a.get()), part));
    other = mm(k1a.get(), k1b.get());
    part = mul(grad, other);
    other.reset();
    g.set(2, mm(part, t(k2b.get())));
    g.set(3, mm(t(k2a.get()), part));
  });
  return out;
}

Tensor lokr_factor(const Site& s, const std::string& factor) {
  const Tensor whole = s.find(factor + ".default");
  return whole ? whole : mm(s.get(factor + "_a.default"), s.get(factor + "_b.default"));
}

}  // namespace

Tensor loha(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const Tensor w1a = s.get("hada_w1_a.default");
  const Tensor delta = hadamard_weight(w1a, s.get("hada_w1_b.default"), s.get("hada_w2_a.default"),
                                       s.get("hada_w2_b.default"));
  return add_delta(x, std::move(result), delta);
}

// torch.kron is one product of views (aten/src/ATen/native/LinearAlgebra.cpp, KronImpl).
Tensor lokr(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  Tensor delta;
  {
    const Tensor w1 = lokr_factor(s, "lokr_w1");
    const Tensor w2 = lokr_factor(s, "lokr_w2");
    const Tensor outer = view(w1, {w1.size(0), 1, w1.size(1), 1});
    const Tensor inner = view(w2, {1, w2.size(0), 1, w2.size(1)});
    Tensor kron = mul(outer, inner);
    kron = view(kron, {w1.size(0) * w2.size(0), w1.size(1) * w2.size(1)});
    delta = mul_scalar(kron);
  }
  return add_delta(x, std::move(result), delta);
}

}  // namespace memplan::hf::peft_forward
