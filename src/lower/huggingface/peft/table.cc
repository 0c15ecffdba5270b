#include <algorithm>
#include <array>
#include <string>

#include "lower/huggingface/peft/method.h"
#include "lower/litgpt/litgpt.h"
#include "lower/torchtitan/torchtitan.h"
#include "lower/torchtune/torchtune.h"
#include "memplan/error.h"
#include "ops/aten/quantized.h"
#include "ops/aten/zero3.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

struct MethodRow {
  PeftKind kind;
  Method linear = nullptr;
  Method embedding = nullptr;
};
namespace p = peft_forward;
using K = PeftKind;
constexpr auto kMethods = std::to_array<MethodRow>({
    {K::lora, p::lora, p::lora_embedding},
    {K::adalora, p::adalora},
    {K::ia3, p::ia3},
    {K::vera, p::vera},
    {K::loha, p::loha},
    {K::lokr, p::lokr},
    {K::oft, p::oft, p::oft_embedding},
    {K::boft, p::boft},
    {K::psoft, p::psoft},
    {K::beft, p::beft},
    {K::miss, p::miss},
    {K::tinylora, p::tinylora},
    {K::gralora, p::gralora},
    {K::deft, p::deft},
    {K::vblora, p::vblora},
    {K::lily, p::lily},
    {K::hira, p::hira},
    {K::glora, p::glora},
    {K::shira, p::shira},
    {K::fourierft, p::fourierft},
    {K::waveft, p::waveft},
    {K::c3a, p::c3a},
    {K::delora, p::delora},
    {K::randlora, p::randlora},
    {K::pvera, p::pvera},
    {K::road, p::road},
    {K::hra, p::hra},
    {K::trainable_tokens, p::trainable_tokens, p::trainable_token_embedding},
});

// Methods without modules of their own on layers: virtual tokens, and LN tuning's copies, which
// Params finds.
constexpr auto kElsewhere = std::to_array<PeftKind>(
    {K::none, K::ln_tuning, K::prompt_tuning, K::p_tuning, K::prefix_tuning, K::adaption_prompt});

const MethodRow* find_method(PeftKind kind) {
  const auto row = std::find_if(kMethods.begin(), kMethods.end(),
                                [&](const MethodRow& r) { return r.kind == kind; });
  return row == kMethods.end() ? nullptr : &*row;
}

}  // namespace

Tensor BaseLayer::operator()(const Tensor& x) const {
  if (x.dtype() == DType::i64) {
    Tensor rows = embedding(weight, x);
    if (starts_gradients && !rows.requires_grad()) rows.session().require_grad(rows);
    return rows;
  }
  if (is_quantized(weight)) return quantized_linear(x, weight, bias);
  const Tensor own = bias_apart ? Tensor() : bias;
  Tensor y = transposed ? conv1d(x, weight, own) : aten::linear(x, weight, own);
  if (bias_apart && bias) y = add(y, bias);
  return y;
}

Tensor adapted_linear(const Forward& f, const Params& params, const BaseLayer& base,
                      const Tensor& x) {
  const MethodRow* row = find_method(f.job.strategy.peft.kind);
  const PeftModule* module = row ? params.adapted(base.name) : nullptr;
  if (f.modules && module)
    // lora_A.weight.dtype is read before lora_A is called: ZeROOrderedDict makes the weight an
    // external parameter of the layer that reads it.
    return called(f, params, base.name, {params.get(base.name, "lora_A.default.weight")}, x,
                  [&](const Tensor& given) {
                    return p::hooked_lora({f, params, *module, base}, given);
                  });
  if (f.modules)
    return called(f, params, base.name, {base.weight, base.bias}, x, [&](const Tensor& given) {
      return base.transposed ? base(given) : aten::zero3_linear(given, base.weight, base.bias);
    });
  if (module == nullptr) return base(x);
  return row->linear({f, params, *module, base}, x);
}

Tensor adapted_embedding(const Forward& f, const Params& params, std::string_view name,
                         const Tensor& ids) {
  BaseLayer base{.name = name, .weight = params.get(name, "weight")};
  const MethodRow* row = find_method(f.job.strategy.peft.kind);
  const PeftModule* module = row ? params.adapted(name) : nullptr;
  if (f.modules)
    return called(f, params, name, {base.weight}, ids,
                  [&](const Tensor& given) { return base(given); });
  if (module == nullptr) return base(ids);
  base.starts_gradients = f.job.strategy.recompute == Recompute::full;
  return row->embedding({f, params, *module, base}, ids);
}

Tensor block_product(const Tensor& x, const Tensor& w) {
  const int64_t blocks = w.size(0), width = x.size(-1);
  const int64_t rows = x.elements() / (blocks * width);
  const Tensor left = x.dims() == 4 ? permute(x, {2, 0, 1, 3}) : permute(x, {1, 0, 2});
  const Tensor flat = reshape(left, {blocks, rows, width});
  const Tensor right = reshape(w, w.sizes());
  const Tensor out = bmm(flat, right);
  if (x.dims() == 3) return permute(out, {1, 0, 2});
  const Tensor parts = view(out, {blocks, x.size(0), x.size(1), w.size(2)});
  return permute(parts, {1, 2, 0, 3});
}

void require_reached(const Job& job, std::span<const Params* const> blocks) {
  const PeftKind kind = job.strategy.peft.kind;
  if (find_method(kind) == nullptr) return;
  for (const Params* block : blocks)
    if (const PeftModule* module = block->unreached())
      throw Error(ErrorKind::not_modelled, "--peft",
                  "what " + std::string(to_string(kind)) + " on '" + module->name +
                      "' of this model keeps for backward is not modelled; its parameters are",
                  "name other modules");
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
  if (job.model.implementation == Implementation::torchtune)
    return torchtune::require_modelled(job);
  if (job.model.implementation == Implementation::torchtitan)
    return torchtitan::require_modelled(job);
  if (std::ranges::find(kElsewhere, peft.kind) != kElsewhere.end()) {
    require_prompt_forward(job);
    return;
  }
  const MethodRow* row = find_method(peft.kind);
  if (row == nullptr) refuse(kind);
  const Strategy& s = job.strategy;
  const bool hooked = s.framework == Framework::deepspeed && s.zero == 3;
  for (const Block& block : program.blocks)
    for (const PeftModule& module : block.graph.adapted) {
      if (hooked && module.form != ModuleForm::linear && module.form != ModuleForm::head)
        refuse(kind + " on '" + module.name + "' under ZeRO-3");
      if (module.form != ModuleForm::embedding) continue;
      if (row->embedding == nullptr || peft.number(PeftNumber::dora) != 0)
        refuse(kind + " on '" + module.name + "'");
    }
}

}  // namespace memplan::hf
