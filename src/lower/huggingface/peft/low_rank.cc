// Products of narrow matrices that are no plain LoRA: TinyLoRA, GraLoRA, DEFT, VB-LoRA, Lily.
#include <algorithm>

#include "lower/huggingface/peft/method.h"
#include "memplan/error.h"

namespace memplan::hf::peft_forward {

using namespace aten;  // NOLINT

namespace {

// Which of the vectors that groups of modules share is this module's (tinylora/model.py).
Tensor tinylora_vector(const Site& s) {
  const auto& here = s.p.graph().adapted;
  const auto own = std::ranges::find(here, s.module.name, &PeftModule::name) - here.begin();
  const auto name = [](int64_t i) { return "tinylora_v.default." + std::to_string(i); };
  int64_t vectors = 0;
  while (s.f.shared_peft->find(name(vectors))) ++vectors;
  const int64_t modules = std::ssize(here);
  const int64_t group = std::max<int64_t>(1, ceil_div(s.f.model.layers * modules, vectors));
  return s.f.shared_peft->find(name(std::min((s.f.layer * modules + own) / group, vectors - 1)));
}

// topk, softmax, and the sum of the vectors that they choose
// (vblora/layer.py, _get_low_rank_matrix).
Tensor chosen_vectors(const Site& s, const Tensor& logits, const Tensor& bank) {
  const Selected best = topk(logits, s.number(PeftNumber::top));
  const Tensor weights = softmax(best.values);
  const Tensor rows = view(best.indices, {best.indices.elements()});
  const Tensor vectors = index_rows(bank, rows);
  const Shape sizes{logits.size(0), logits.size(1), best.indices.size(2), bank.size(1)};
  const Tensor weighted = mul(unsqueeze(weights, -1), view(vectors, sizes));
  return sum_dim(weighted, -2);
}

}  // namespace

// tinylora/layer.py, Linear.forward
Tensor tinylora(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const DType dtype = x.dtype();
  const Tensor a = s.buffer("tinylora_A.default");
  const Tensor b = s.buffer("tinylora_B.default");
  const Tensor p = s.buffer("tinylora_P.default");
  Tensor r;
  {
    const Tensor v = view(tinylora_vector(s), {1, 1, p.size(0)});
    const Tensor flat = view(p, {1, p.size(0), p.size(1) * p.size(2)});
    r = view(bmm(v, flat), {p.size(1), p.size(2)});
  }
  Tensor wide = dropout(x, s.dropout());
  wide = to(wide, a.dtype());
  Tensor low = aten::linear(wide, a, {});
  low = aten::linear(low, r, {});
  const Tensor delta = aten::linear(low, b, {});
  result = add(result, delta);
  return to(result, dtype);
}

// gralora/layer.py, Linear.forward
Tensor gralora(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const DType dtype = result.dtype();
  const Tensor a = s.get("gralora_A.default");
  const Tensor b = s.get("gralora_B.default");
  const int64_t k = a.size(0), rank = a.size(2), batch = x.size(0), length = x.size(1);
  Tensor output;
  {
    Tensor wide = to(x, a.dtype());
    wide = dropout(wide, s.dropout());
    wide = view(wide, {batch, length, k, x.size(-1) / k});
    Tensor low = block_product(wide, a);
    wide.reset();
    low = view(low, {batch, length, k, k, rank / k});
    low = permute(low, {0, 1, 3, 2, 4});
    low = reshape(low, {batch, length, k, rank});
    output = block_product(low, b);
  }
  output = reshape(output, {batch, length, b.size(0) * b.size(2)});
  {
    const Tensor narrow = to(output, dtype);
    const Tensor scaled = mul_scalar(narrow);
    result = add_in_place(std::move(result), scaled);
  }
  if (const Tensor general = s.find("gralora_A_general.default.weight")) {
    Tensor low = to(x, a.dtype());
    low = dropout(low, s.dropout());
    low = aten::linear(low, general, {});
    low = aten::linear(low, s.get("gralora_B_general.default.weight"), {});
    low = to(low, dtype);
    low = mul_scalar(low);
    result = add_in_place(std::move(result), low);
  }
  return to(result, x.dtype());
}

// deft/layer.py, DeftLinear.forward with decomposition_method relu
Tensor deft(const Site& s, const Tensor& x) {
  if (s.number(PeftNumber::variant) != 0)
    throw Error(ErrorKind::not_modelled, "--peft", "DEFT's QR decomposition is not modelled",
                "use decomposition_method=relu");
  const DType dtype = x.dtype();
  const Tensor base = s.base(x);
  Tensor result = to(base, DType::f32);
  const Tensor product = s.base.bias ? sub(result, to(s.base.bias, DType::f32)) : result;
  const Tensor wide = to(x, DType::f32);
  const Tensor p = to(s.get("deft_P.default"), DType::f32);
  const Tensor right = activation(p, "relu");
  Tensor correction;
  {
    const Tensor low = matmul(product, right);
    correction = matmul(low, transpose(p, 0, 1));
  }
  result = sub(result, correction);
  if (const Tensor trained = s.find("deft_R.default")) {
    const Tensor r = mul_scalar(to(trained, DType::f32));
    const Tensor dropped = dropout(wide, s.dropout());
    const Tensor low = aten::linear(dropped, r, {});
    const Tensor injected = matmul(low, transpose(p, 0, 1));
    result = add(result, injected);
  }
  return to(result, dtype);
}

// vblora/layer.py, Linear.forward
Tensor vblora(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const DType dtype = x.dtype();
  const Tensor logits_a = s.get("vblora_logits_A.default");
  const Tensor logits_b = s.get("vblora_logits_B.default");
  const Tensor bank = s.f.shared_peft->find("vblora_vector_bank.default");
  const int64_t rank = logits_a.size(0);
  Tensor a = chosen_vectors(s, logits_a, bank);
  a = reshape(a, {rank, a.elements() / rank});
  Tensor b = chosen_vectors(s, logits_b, bank);
  b = transpose(b, 1, 2);
  b = reshape(b, {b.elements() / rank, rank});
  const Tensor wide = to(x, bank.dtype());
  {
    Tensor low = dropout(wide, s.dropout());
    low = aten::linear(low, a, {});
    const Tensor delta = aten::linear(low, b, {});
    result = add(result, delta);
  }
  return to(result, dtype);
}

// lily/layer.py, Linear.forward. Runs of stride_A modules of one target share A.
Tensor lily(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const DType dtype = result.dtype();
  std::string target = s.module.name;
  for (const std::string& name : s.peft().targets)
    if (s.module.name.ends_with(name)) target = name;
  const int64_t group = s.f.layer / s.number(PeftNumber::stride);
  const Params& shared = *s.f.shared_peft;
  const Tensor a = shared.get(target + "." + std::to_string(group) + ".lily_A.default", "weight");
  const Tensor all = shared.get(target + ".lily_B.default", "weight");
  const int64_t experts = s.number(PeftNumber::count_b), rank = a.size(0);
  const Tensor wide = to(x, a.dtype());
  const Tensor hidden = aten::linear(wide, a, {});
  Tensor logits = aten::linear(hidden, s.get("lily_router.default.weight"), {});
  const Tensor probability = softmax(logits);
  const Tensor rows = view(probability, {probability.elements() / experts, experts});
  const Tensor mean = mean_first(rows);
  Tensor combined;
  {
    const Tensor weights = view(mean, {1, 1, experts});
    const Tensor flat = view(all, {1, experts, rank * all.size(1)});
    combined = view(bmm(weights, flat), {rank, all.size(1)});
  }
  const Tensor delta = matmul(hidden, combined);
  {
    Tensor scaled = mul_scalar(delta);
    scaled = to(scaled, dtype);
    result = add(result, scaled);
  }
  return result;
}

}  // namespace memplan::hf::peft_forward
