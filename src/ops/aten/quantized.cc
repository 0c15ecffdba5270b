// bitsandbytes 0.50.2: functional.py, autograd/_functions.py, nn/modules.py, backends/*/ops.py.
#include "ops/aten/quantized.h"

#include <utility>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

constexpr int64_t kBlock = 64;        // weights that share a scale
constexpr int64_t kScaleBlock = 256;  // scales that share one, where they are quantized too

bool four_bits(QuantKind kind) { return kind == QuantKind::nf4 || kind == QuantKind::fp4; }
int64_t scales(const Shape& sizes) { return ceil_div(sizes.elements(), kBlock); }
const QuantFormat& format_of(const Tensor& weight) { return *weight->leaf->quantized; }

constexpr std::string_view kUnpack = "bitsandbytes.dequantize_4bit.default";
constexpr std::string_view kUnpackScales = "bitsandbytes.dequantize_blockwise.default";

Shape with_last(Shape sizes, int64_t last) {
  sizes[-1] = last;
  return sizes;
}
Shape flat(const Tensor& x) { return {x.elements() / x.size(-1), x.size(-1)}; }

// --- 4 bits -------------------------------------------------------------------------------------

// torch.ops.bitsandbytes.gemm_4bit: unpacks the weight and multiplies. CUDA's has a fused kernel
// for few tokens; from 1537 on, and for most shapes from some 100 on, it does the same.
Tensor gemm_4bit(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Session& s = x.session();
  Tensor absmax, first;
  if (format_of(weight).double_quant) {
    first = make(s, kUnpackScales, {scales(weight.sizes())}, DType::f32);
    absmax = make(s, "aten.add.Tensor", first.sizes(), DType::f32);
    // backends/default/ops.py drops it, backends/cuda/ops.py holds it to the end.
    if (s.backend == Backend::cpu) first.reset();
  }
  const Tensor whole = make(s, kUnpack, weight.sizes(), x.dtype());
  if (!s.watched) return linear(x, whole, bias);
  // Inside of an operator a TorchDispatchMode sees linear as one.
  Tensor b;
  if (bias) b = s.cast_for_autocast(bias);
  const Tensor w = s.cast_for_autocast(whole);
  const Tensor a = s.cast_for_autocast(x);
  return make(s, "aten.linear.default", with_last(x.sizes(), weight.size(0)), a.dtype());
}

// MatMul4Bit keeps nothing but the packed weight.
Tensor matmul_4bit(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Tensor out;
  {
    NoGrad off(x.session());
    out = gemm_4bit(x, weight, bias);
  }
  if (!tracks({&x, &bias})) return out;
  record({&out}, {&x, &bias}, [weight](Grads& g) {
    if (g.wants(1)) g.set(1, sum_dim(g.in(), 0));
    if (!g.wants(0)) return;
    Tensor whole = dequantize(weight);
    whole = to(whole, g.in().dtype());
    g.set(0, matmul(g.in(), whole));
  });
  return out;
}

Tensor linear_4bit(const Tensor& given, const Tensor& weight, const Tensor& bias) {
  const Tensor x = to(given, format_of(weight).compute);
  const Tensor out = matmul_4bit(x, weight, bias);
  return to(out, given.dtype());
}

// --- 8 bits -------------------------------------------------------------------------------------

// CB.to(dtype, copy=True).mul_(SCB.unsqueeze(1).mul(1 / 127))
Tensor scaled_weight(const Tensor& weight, DType dtype) {
  Session& s = weight.session();
  Tensor whole = make(s, "aten._to_copy.default", weight.sizes(), dtype);
  const Tensor scale = make(s, "aten.mul.Tensor", {weight.size(0), 1}, DType::f32);
  s.ledger.note("aten.mul_.Tensor");
  return whole;
}

// MatMul8bitLt.forward with a threshold above zero, as transformers sets it; no column of x is
// taken for an outlier.
Tensor int8_product(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Session& s = x.session();
  const Tensor rows = reshape(x, flat(x));
  Tensor row_scales, codes;
  {
    const Tensor half = to(rows, DType::f16);
    row_scales = allocate(s, {rows.size(0)}, DType::f32);
    codes = allocate(s, rows.sizes(), DType::u8);
    Tensor magnitude = make(s, "aten.abs.default", rows.sizes(), DType::f16);
    const Tensor outliers = make(s, "aten.ge.Scalar", rows.sizes(), DType::boolean);
    magnitude.reset();
    s.ledger.note("bitsandbytes.int8_vectorwise_quant.default");
  }
  const Shape sizes{rows.size(0), weight.size(0)};
  const Tensor sums = make(s, "bitsandbytes.int8_linear_matmul.default", sizes, DType::i32);
  if (weight.size(1) % 4 != 0) {  // cuBLASLt cannot: in fp32
    const Tensor a = to(codes, DType::f32);
    const Tensor b = make(s, "aten._to_copy.default", weight.sizes(), DType::f32);
    const Tensor wide = make(s, "aten.mm.default", sizes, DType::f32);
    const Tensor narrow = to(wide, DType::i32);
  }
  const Tensor half = make(s, "bitsandbytes.int8_mm_dequant.default", sizes, DType::f16);
  if (bias) s.ledger.note("aten.add_.Tensor");
  return view(to(half, x.dtype()), with_last(x.sizes(), weight.size(0)));
}

// MatMul8bitLt on CUDA, MatMul8bitFp on the CPU: both keep x, though no gradient needs it.
Tensor linear_8bit(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Tensor out;
  {
    NoGrad off(x.session());
    if (x.session().backend == Backend::cuda) {
      out = int8_product(x, weight, bias);
    } else {
      const Tensor whole = scaled_weight(weight, x.dtype());
      out = linear(x, whole, bias);
    }
  }
  if (!tracks({&x, &bias})) return out;
  const DType dtype = x.dtype();
  record({&out}, {&x, &bias}, [weight, dtype, sizes = x.sizes()](Grads& g) {
    if (g.wants(1)) g.set(1, sum_dim(g.in(), 0));
    if (!g.wants(0)) return;
    Tensor grad = reshape(g.in(), flat(g.in()));
    grad = contiguous(grad);
    const Tensor whole = scaled_weight(weight, dtype);
    const Tensor same = to(grad, dtype);
    g.set(0, view(matmul(same, whole), sizes));
  });
  hold_on_tape(out, x);
  return out;
}

}  // namespace

std::vector<int64_t> quantized_storages(const QuantFormat& format, const Shape& sizes) {
  constexpr int64_t kFloat = size_of(DType::f32);
  const int64_t elements = sizes.elements();
  if (!four_bits(format.kind)) return {elements, checked_mul(sizes[0], kFloat)};  // CB, SCB
  const int64_t packed = ceil_div(elements, 2), blocks = scales(sizes), code = 16 * kFloat;
  if (!format.double_quant) return {packed, checked_mul(blocks, kFloat), code};
  // absmax in 8 bits; of these the scales, the table and the mean that was taken off.
  return {packed,       blocks, code, checked_mul(ceil_div(blocks, kScaleBlock), kFloat),
          256 * kFloat, kFloat};
}

int64_t quantized_elements(const QuantFormat& format, const Shape& sizes) {
  const int64_t elements = sizes.elements();
  return four_bits(format.kind) ? checked_mul(ceil_div(elements, 2), 2) : elements;
}

bool is_quantized(const Tensor& weight) {
  return weight->leaf != nullptr && weight->leaf->quantized.has_value();
}
bool is_4bit(const Tensor& weight) {
  return is_quantized(weight) && four_bits(format_of(weight).kind);
}

Tensor quantized_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return is_4bit(weight) ? linear_4bit(x, weight, bias) : linear_8bit(x, weight, bias);
}

Tensor dequantize(const Tensor& weight) {
  Session& s = weight.session();
  const QuantFormat& format = format_of(weight);
  if (!four_bits(format.kind)) {
    // A * stats.view(-1, 1) * constant
    Tensor scaled;
    if (!s.watched) scaled = allocate(s, weight.sizes(), DType::f32);
    return make(s, "bitsandbytes.int8_vectorwise_dequant.default", weight.sizes(), DType::f32);
  }
  Tensor absmax;
  if (format.double_quant) {
    absmax = make(s, kUnpackScales, {scales(weight.sizes())}, DType::f32);
    s.ledger.note("aten.add_.Tensor");
  }
  return make(s, kUnpack, weight.sizes(), format.loaded);
}

}  // namespace memplan::aten
