// Methods that scale by vectors: IA³ (ia3/layer.py), VeRA (vera/layer.py);
// BEFT adds one (beft/layer.py), MiSS sums blocks of the input (miss/layer.py).
#include "lower/huggingface/peft/method.h"
#include "memplan/error.h"

namespace memplan::hf::peft_forward {

using namespace aten;  // NOLINT

// (1 · l).flatten() times the layer's input or its output, in the tensor's dtype.
Tensor ia3(const Site& s, const Tensor& x) {
  const Tensor l = s.get("ia3_l.default");
  const DType dtype = x.dtype();
  const bool input = l.size(0) == 1;
  const Tensor flat = view(l, {l.elements()});
  const Tensor scaling = mul_scalar(flat);
  if (!input) {
    const Tensor result = s.base(x);
    const Tensor product = mul(result, scaling);
    return to(product, result.dtype());
  }
  Tensor scaled;
  {
    const Tensor wide = to(x, l.dtype());
    scaled = mul(wide, scaling);
    scaled = to(scaled, dtype);
  }
  return s.base(scaled);
}

Tensor beft(const Site& s, const Tensor& x) {
  const Tensor trained = s.get("beft_bias.default");
  const Tensor flat = view(trained, {trained.elements()});
  const Tensor result = s.base(x);
  const Tensor sum = add(result, flat);
  return to(sum, result.dtype());
}

// With init_weights true: the blocks of r inputs are summed before one product.
Tensor miss(const Site& s, const Tensor& x) {
  if (s.number(PeftNumber::variant) == 2) return miss_bat(s, x);
  if (s.number(PeftNumber::variant) == 1)
    throw Error(ErrorKind::not_modelled, "--peft", "MiSS with init_weights mini is not modelled",
                "use init_weights=true");
  Tensor result = s.base(x);
  const DType dtype = x.dtype();
  const Tensor block = s.get("miss_block.default");
  const int64_t r = block.size(0), width = ceil_div(x.size(-1), r) * r;
  Tensor wide = width == x.size(-1) ? x : pad_last(x, width);
  wide = to(wide, block.dtype());
  {
    Tensor low = dropout(wide, s.dropout());
    low = view(low, {x.size(0), x.size(1), width / r, r});
    low = sum_dim(low, -2);
    const Tensor delta = matmul(low, block);
    result = add(result, delta);
  }
  return to(result, dtype);
}

Tensor vera(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const DType dtype = result.dtype();
  const Tensor d = s.get("vera_lambda_d.default");
  const Tensor b = s.get("vera_lambda_b.default");
  const Tensor whole_a = s.f.shared_peft->buffer("vera_A.default");
  const Tensor whole_b = s.f.shared_peft->buffer("vera_B.default");
  const Tensor sliced_a = slice(whole_a, -1, 0, x.size(-1));
  const Tensor sliced_b = slice(whole_b, 0, 0, b.size(0));
  const Tensor wide = to(x, d.dtype());
  {
    Tensor low = dropout(wide, s.dropout());
    low = aten::linear(low, sliced_a, {});
    low = mul(d, low);
    low = aten::linear(low, sliced_b, {});
    low = mul(b, low);
    result = add(result, low);
  }
  return to(result, dtype);
}

}  // namespace memplan::hf::peft_forward
