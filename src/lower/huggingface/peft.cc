#include "lower/huggingface/peft.h"

#include <algorithm>
#include <array>
#include <string>

#include "lower/litgpt/litgpt.h"
#include "memplan/error.h"

namespace memplan::hf {
namespace {

using namespace aten;  // NOLINT: this file is written in its operators

// --- lora ---------------------------------------------------------------------------------------

// lora/layer.py, Linear.forward: x in the adapter's dtype, its own dropout, A, B, the scaling and
// the sum.
Tensor lora(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
            Tensor result) {
  const Tensor a = p.find(name, "lora_A.default.weight");
  if (!a) return result;
  const Tensor b = p.get(name, "lora_B.default.weight");
  const DType out = result.dtype();
  Tensor low = to(x, a.dtype());
  if (p.find(name, "lora_magnitude_vector.default.weight"))
    return to(dora(f, p, name, std::move(low), std::move(result)), out);
  low = dropout(low, f.job.strategy.peft.dropout);
  low = aten::linear(low, a, {});
  low = aten::linear(low, b, p.find(name, "lora_B.default.bias"));
  low = mul_scalar(low);
  result = add(result, low);
  low.reset();
  return to(result, out);
}

// adalora/layer.py, SVDLinear.forward
Tensor adalora(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
               Tensor result) {
  const Tensor a = p.find(name, "lora_A.default");
  if (!a) return result;
  const Tensor ranknum = add_scalar(p.get(name, "ranknum.default"));
  Tensor low = to(x, a.dtype());
  {
    const Tensor dropped = dropout(low, f.job.strategy.peft.dropout);
    const Tensor scaled = mul(a, p.get(name, "lora_E.default"));
    const Tensor narrow = matmul(dropped, t(scaled));
    Tensor wide = matmul(narrow, t(p.get(name, "lora_B.default")));
    wide = mul_scalar(wide);
    wide = div(wide, ranknum);
    result = add_in_place(std::move(result), wide);
  }
  return result;
}

// --- ia3, vera ----------------------------------------------------------------------------------

// (1 · l).flatten() times the tensor, in the tensor's dtype.
Tensor scale_by(const Tensor& vector, const Tensor& x) {
  const DType dtype = x.dtype();
  const Tensor flat = view(vector, {vector.size(0) * vector.size(1)});
  const Tensor scaling = mul_scalar(flat);
  const Tensor product = mul(x, scaling);
  return to(product, dtype);
}

bool scales_input(const Tensor& vector) { return vector && vector.size(0) == 1; }

Tensor ia3_before(const Forward&, const Params& p, std::string_view name, const Tensor& x) {
  const Tensor l = p.find(name, "ia3_l.default");
  if (!scales_input(l)) return x;
  const DType dtype = x.dtype();
  const Tensor flat = view(l, {l.size(1)});
  const Tensor scaling = mul_scalar(flat);
  const Tensor wide = to(x, l.dtype());
  const Tensor product = mul(wide, scaling);
  return to(product, dtype);
}

Tensor ia3(const Forward&, const Params& p, std::string_view name, const Tensor&, Tensor result) {
  const Tensor l = p.find(name, "ia3_l.default");
  return l && !scales_input(l) ? scale_by(l, result) : result;
}

Tensor vera(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
            Tensor result) {
  const Tensor d = p.find(name, "vera_lambda_d.default");
  if (!d) return result;
  const Tensor b = p.get(name, "vera_lambda_b.default");
  const DType dtype = result.dtype();
  const Tensor whole_a = f.shared_peft->buffer("vera_A.default");
  const Tensor whole_b = f.shared_peft->buffer("vera_B.default");
  const Tensor sliced_a = slice(whole_a, -1, 0, x.size(-1));
  const Tensor sliced_b = slice(whole_b, 0, 0, b.size(0));
  const Tensor wide = to(x, d.dtype());
  {
    Tensor low = dropout(wide, f.job.strategy.peft.dropout);
    low = aten::linear(low, sliced_a, {});
    low = mul(d, low);
    low = aten::linear(low, sliced_b, {});
    low = mul(b, low);
    result = add(result, low);
  }
  return to(result, dtype);
}

// --- loha, lokr ---------------------------------------------------------------------------------

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

Tensor loha(const Forward&, const Params& p, std::string_view name, const Tensor& x,
            Tensor result) {
  const Tensor w1a = p.find(name, "hada_w1_a.default");
  if (!w1a) return result;
  const Tensor delta =
      hadamard_weight(w1a, p.get(name, "hada_w1_b.default"), p.get(name, "hada_w2_a.default"),
                      p.get(name, "hada_w2_b.default"));
  return add_delta(x, std::move(result), delta);
}

Tensor lokr_factor(const Params& p, std::string_view name, const std::string& factor) {
  const Tensor whole = p.find(name, factor + ".default");
  return whole ? whole : mm(p.get(name, factor + "_a.default"), p.get(name, factor + "_b.default"));
}

// torch.kron is one product of views (aten/src/ATen/native/LinearAlgebra.cpp, KronImpl).
Tensor lokr(const Forward&, const Params& p, std::string_view name, const Tensor& x,
            Tensor result) {
  if (!p.find(name, "lokr_w2.default") && !p.find(name, "lokr_w2_a.default")) return result;
  Tensor delta;
  {
    const Tensor w1 = lokr_factor(p, name, "lokr_w1");
    const Tensor w2 = lokr_factor(p, name, "lokr_w2");
    const Tensor outer = view(w1, {w1.size(0), 1, w1.size(1), 1});
    const Tensor inner = view(w2, {1, w2.size(0), 1, w2.size(1)});
    Tensor kron = mul(outer, inner);
    kron = view(kron, {w1.size(0) * w2.size(0), w1.size(1) * w2.size(1)});
    delta = mul_scalar(kron);
  }
  return add_delta(x, std::move(result), delta);
}

// --- the table ----------------------------------------------------------------------------------

struct ForwardRow {
  PeftKind kind;
  Tensor (*after)(const Forward&, const Params&, std::string_view, const Tensor&, Tensor);
  Tensor (*before)(const Forward&, const Params&, std::string_view, const Tensor&) = nullptr;
};
// LN tuning puts its copies where Params finds them.
constexpr auto kForwards = std::to_array<ForwardRow>({
    {PeftKind::none, nullptr},
    {PeftKind::lora, lora},
    {PeftKind::adalora, adalora},
    {PeftKind::ia3, ia3, ia3_before},
    {PeftKind::vera, vera},
    {PeftKind::loha, loha},
    {PeftKind::lokr, lokr},
    {PeftKind::ln_tuning, nullptr},
});

const ForwardRow* find_forward(PeftKind kind) {
  const auto row = std::find_if(kForwards.begin(), kForwards.end(),
                                [&](const ForwardRow& r) { return r.kind == kind; });
  return row == kForwards.end() ? nullptr : &*row;
}

}  // namespace

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

Tensor before_linear(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const ForwardRow* row = find_forward(f.job.strategy.peft.kind);
  return row != nullptr && row->before != nullptr ? row->before(f, p, name, x) : x;
}

Tensor after_linear(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
                    Tensor result) {
  const ForwardRow* row = find_forward(f.job.strategy.peft.kind);
  if (row == nullptr || row->after == nullptr) return result;
  return row->after(f, p, name, x, std::move(result));
}

void require_peft_forward(const Job& job, const Program& program) {
  const PeftSpec& peft = job.strategy.peft;
  const std::string kind(to_string(peft.kind));
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::not_modelled, "--peft",
                "what " + what + " keeps for backward is not modelled; its parameters are",
                "LoRA's is");
  };
  if (job.model.implementation == Implementation::litgpt) return litgpt::require_modelled(job);
  if (find_forward(peft.kind) == nullptr) refuse(kind);
  // peft 0.21 trains the rank counts that it casts to fp32, 0.19 does not.
  if (peft.kind == PeftKind::adalora && job.strategy.precision.weight != DType::f32)
    refuse("AdaLoRA on a 16-bit model");
  if (peft.block_diagonal.blocks > 0) refuse("LoRA with use_bdlora");
  if (peft.kind == PeftKind::ln_tuning) return;
  for (const Block& block : program.blocks)
    for (const PeftModule& module : block.graph.adapted)
      if (module.form == ModuleForm::embedding || module.form == ModuleForm::head)
        refuse(kind + " on '" + module.name + "'");
}

}  // namespace memplan::hf
