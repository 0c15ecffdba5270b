// LoRA (lora/layer.py), DoRA (lora/dora.py), BD-LoRA (lora/variants.py).
#include "lower/huggingface/peft/method.h"
#include "ops/aten/quantized.h"
#include "ops/aten/zero3.h"

namespace memplan::hf::peft_forward {

using namespace aten;  // NOLINT: this file is written in its operators

namespace {

// BlockDiagonalLinear.forward: weight [out, in / blocks].
Tensor block_diagonal(const Tensor& x, const Tensor& weight) {
  const int64_t blocks = x.size(-1) / weight.size(1);
  const Tensor rows = reshape(x, {x.elements() / x.size(-1), x.size(-1)});
  const Tensor parts = reshape(rows, {rows.size(0), blocks, weight.size(1)});
  const Tensor w = view(weight, {blocks, weight.size(0) / blocks, weight.size(1)});
  const Tensor out = block_product(parts, transpose(w, 1, 2));
  Shape sizes = x.sizes();
  sizes[-1] = weight.size(0);
  return reshape(out, sizes);
}

Tensor narrow_linear(const Tensor& x, const Tensor& weight) {
  return x.size(-1) == weight.size(1) ? aten::linear(x, weight, {}) : block_diagonal(x, weight);
}

// BdLoraLinearVariant.forward
Tensor block_diagonal_lora(const Site& s, Tensor x, Tensor result) {
  x = dropout(x, s.dropout());
  Tensor low = narrow_linear(x, s.get("lora_A.default.weight"));
  low = narrow_linear(low, s.get("lora_B.default.weight"));
  low = mul_scalar(low);
  return add_in_place(std::move(result), low);
}

}  // namespace

// Linear.forward: x in the adapter's dtype, its own dropout, A, B, the scaling and the sum.
Tensor lora(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const DType dtype = result.dtype();
  const Tensor a = s.get("lora_A.default.weight");
  const Tensor wide = to(x, a.dtype());
  if (s.find("lora_magnitude_vector.default.weight"))
    return to(dora(s.f, s.p, s.base.name, wide, std::move(result)), dtype);
  if (s.peft().block_diagonal.blocks > 0) return block_diagonal_lora(s, wide, std::move(result));
  Tensor low = dropout(wide, s.dropout());
  low = aten::linear(low, a, {});
  low = aten::linear(low, s.get("lora_B.default.weight"), s.find("lora_B.default.bias"));
  low = mul_scalar(low);
  result = add(result, low);
  low.reset();
  return to(result, dtype);
}

Tensor hooked_lora(const Site& s, const Tensor& x) {
  const std::string name(s.base.name);
  const auto part = [&](const char* module, const Tensor& weight, const Tensor& bias,
                        const Tensor& input) {
    return called(s.f, s.p, name + module, {weight, bias}, input,
                  [&](const Tensor& given) { return zero3_linear(given, weight, bias); });
  };
  Tensor result = part(".base_layer", s.base.weight, s.base.bias, x);
  const DType dtype = result.dtype();
  const Tensor a = s.get("lora_A.default.weight");
  Tensor low = called(s.f, s.p, name + ".lora_dropout.default", {}, to(x, a.dtype()),
                      [&](const Tensor& given) { return dropout(given, s.dropout()); });
  low = part(".lora_A.default", a, {}, low);
  low = part(".lora_B.default", s.get("lora_B.default.weight"), s.find("lora_B.default.bias"), low);
  low = mul_scalar(low);
  result = add(result, low);
  low.reset();
  return to(result, dtype);
}

// Embedding.forward
Tensor lora_embedding(const Site& s, const Tensor& ids) {
  Tensor result = s.base(ids);
  const DType dtype = result.dtype();
  const Tensor a = transpose(s.get("lora_embedding_A.default"), 0, 1);
  const Tensor b = transpose(s.get("lora_embedding_B.default"), 0, 1);
  const Tensor after_a = embedding(a, ids);
  Tensor low = matmul(after_a, b);
  low = mul_scalar(low);
  result = add(result, low);
  return to(result, dtype);
}

}  // namespace memplan::hf::peft_forward

namespace memplan::hf {

using namespace aten;  // NOLINT

// lora/dora.py, DoraLinearLayer.forward. The norm of W + BA is a constant to autograd.
Tensor dora(const Forward& f, const Params& p, std::string_view name, Tensor x, Tensor result) {
  const Tensor a = p.get(name, "lora_A.default.weight");
  const Tensor b = p.get(name, "lora_B.default.weight");
  const Tensor magnitude = p.get(name, "lora_magnitude_vector.default.weight");
  const double drop = f.job.strategy.peft.dropout;
  x = dropout(x, drop);
  Tensor change, extra;
  {
    const Tensor eye = make(f.session, "aten.eye.m", {a.size(-1), a.size(-1)}, a.dtype());
    Tensor product = aten::linear(eye, a, {});
    product = aten::linear(product, b, {});
    change = to(t(product), x.dtype());
  }
  Tensor weight = p.get(name, "weight");
  const bool turned = !is_quantized(weight) && f.row.attention.transposed;
  if (is_quantized(weight)) weight = dequantize(weight);
  weight = to(weight, x.dtype());
  Tensor norm;
  {
    NoGrad off(f.session);
    const Tensor scaled = mul_scalar(change);
    const Tensor sum = add(weight, turned ? t(scaled) : scaled);
    norm = make(f.session, "aten.linalg_vector_norm.default", {magnitude.size(-1)}, x.dtype());
  }
  Tensor scale = div(magnitude, norm);
  scale = view(scale, {1, magnitude.size(-1)});
  Tensor low = aten::linear(x, a, {});
  low = aten::linear(low, b, {});
  Tensor base = result;
  const Tensor bias = p.find(name, "bias");
  if (drop > 0)
    base = aten::linear(x, turned ? t(weight) : weight, {});
  else if (bias)
    base = sub(result, bias);
  {
    const Tensor less = add_scalar(scale);
    const Tensor straight = mul(less, base);
    Tensor scaled = mul(scale, low);
    scaled = mul_scalar(scaled);
    extra = add(straight, scaled);
  }
  return add(result, extra);
}

}  // namespace memplan::hf
