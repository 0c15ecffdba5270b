#include "ops/peft.h"

#include <algorithm>
#include <array>

#include "memplan/error.h"
#include "ops/linear.h"
#include "ops/peft_method.h"

namespace memplan {
namespace {

// Forms of module that a method can sit on, as bits.
constexpr unsigned bit(ModuleForm form) { return 1U << static_cast<unsigned>(form); }
constexpr unsigned kLinear = bit(ModuleForm::linear) | bit(ModuleForm::head);
constexpr unsigned kConv1D = bit(ModuleForm::conv1d);
constexpr unsigned kEmbedding = bit(ModuleForm::embedding);
constexpr unsigned kAny = kLinear | kConv1D | kEmbedding | bit(ModuleForm::norm);

struct MethodRow {
  PeftKind kind;
  unsigned forms;
  void (*parameters)(PeftSite&);
  void (*shared)(PeftSharing&) = nullptr;
  PeftNumber size = PeftNumber::count_;  ///< what PeftSite::rank is; count_: PeftSpec::rank
};

namespace p = peft_parameters;
using K = PeftKind;
using N = PeftNumber;
constexpr auto kMethods = std::to_array<MethodRow>({
    {K::lora, kLinear | kConv1D | kEmbedding, p::lora},
    {K::adalora, kLinear | kConv1D, p::adalora},
    {K::boft, kLinear, p::boft},
    {K::ia3, kLinear | kConv1D, p::ia3},
    {K::beft, kLinear, p::beft},
    {K::lily, kLinear, p::lily, p::lily_shared},
    {K::loha, kLinear, p::loha},
    {K::lokr, kLinear, p::lokr},
    {K::oft, kLinear | kEmbedding, p::oft},
    {K::poly, kLinear, p::poly},
    {K::ln_tuning, kAny, p::ln_tuning},
    {K::vera, kLinear | kConv1D, p::vera, p::vera_shared},
    {K::pvera, kLinear | kConv1D, p::pvera, p::pvera_shared},
    {K::fourierft, kLinear | kConv1D, p::fourierft, nullptr, N::frequencies},
    {K::glora, kLinear, p::glora},
    {K::hra, kLinear, p::hra},
    {K::vblora, kLinear | kConv1D, p::vblora, p::vblora_shared},
    {K::unilora, kLinear | kConv1D, p::unilora, p::unilora_shared},
    {K::miss, kLinear, p::miss},
    {K::bone, kLinear, p::bone},
    {K::randlora, kLinear | kConv1D, p::randlora, p::randlora_shared},
    {K::road, kLinear, p::road},
    {K::trainable_tokens, kLinear | kEmbedding, p::trainable_tokens},
    {K::hira, kLinear | kConv1D | kEmbedding, p::hira},
    {K::shira, kLinear, p::shira},
    {K::c3a, kLinear, p::c3a, nullptr, N::block_size},
    {K::waveft, kLinear | kConv1D, p::waveft, nullptr, N::frequencies},
    {K::osf, kLinear, p::osf, nullptr, N::effective_rank},
    {K::delora, kLinear, p::delora},
    {K::gralora, kLinear | kConv1D, p::gralora},
    {K::tinylora, kLinear | kConv1D | kEmbedding, p::tinylora, p::tinylora_shared},
    {K::psoft, kLinear, p::psoft},
    {K::peanut, kLinear, p::peanut},
    {K::supertuning, kLinear, p::supertuning},
    {K::deft, kLinear | kConv1D, p::deft},
    {K::litgpt_lora, kLinear, p::litgpt_lora},
    {K::litgpt_adapter_v2, kLinear, p::litgpt_adapter_v2},
    {K::torchtune_lora, kLinear, p::torchtune_lora},
    {K::bridge_lora, kLinear, p::bridge_lora},
});

const MethodRow* find_method(PeftKind kind) {
  const auto row = std::find_if(kMethods.begin(), kMethods.end(),
                                [&](const MethodRow& method) { return method.kind == kind; });
  return row == kMethods.end() ? nullptr : &*row;
}

constexpr std::array<std::string_view, 5> kFormNames{
    "a linear layer", "a Conv1D", "the output projection", "an embedding", "a norm"};

// litgpt names kinds of projections, and Adapter v2 takes every linear layer.
bool adapted_by_role(const PeftSpec& peft, const PeftModule& module) {
  const auto has = [&](std::string_view word) {
    return std::find(peft.targets.begin(), peft.targets.end(), word) != peft.targets.end();
  };
  if (module.role.empty()) return false;
  if (peft.kind == PeftKind::litgpt_adapter_v2) return true;
  if (peft.kind != PeftKind::litgpt_lora) return false;
  return module.role == "qkv" ? has("query") || has("key") || has("value") : has(module.role);
}

Param& placed(std::vector<Param>& list, std::string name, std::initializer_list<int64_t> shape) {
  list.push_back(make_param(std::move(name), shape));
  list.back().adapter = true;
  return list.back();
}

}  // namespace

PeftSite::PeftSite(Graph& g, const PeftModule& on)
    : module(on), peft(*g.context.peft), in(on.in), out(on.out), rank(peft.rank), g_(g) {
  const PeftNumber size = find_method(peft.kind)->size;
  if (size != PeftNumber::count_) rank = peft.number(size);
  if (g.context.targets != nullptr)
    rank = g.context.targets->sized(g.context.prefix + on.name, rank);
}

Param& PeftSite::add(std::string_view name, std::initializer_list<int64_t> shape) {
  Param& param = placed(g_.params, module.name + "." + std::string(name), shape);
  param.trainable = g_.context.training;
  param.dtype = DType::f32;
  return param;
}

Param& PeftSite::add_frozen(std::string_view name, std::initializer_list<int64_t> shape) {
  Param& param = add(name, shape);
  param.trainable = false;
  return param;
}

Param& PeftSite::add_buffer(std::string_view name, std::initializer_list<int64_t> shape,
                            DType dtype) {
  Param& param = placed(g_.buffers, module.name + "." + std::string(name), shape);
  param.trainable = false;
  param.dtype = dtype;
  return param;
}

Param& PeftSite::add_attribute(std::string_view name, std::initializer_list<int64_t> shape,
                               DType dtype) {
  Param& param = add_buffer(name, shape, dtype);
  param.registered = false;
  return param;
}

int64_t PeftSite::divided(int64_t size, int64_t parts, std::string_view by) const {
  if (size % parts != 0)
    refuse(std::to_string(size) + " features do not divide by " + std::string(by) + " " +
           std::to_string(parts));
  return size / parts;
}

void PeftSite::refuse(const std::string& problem, const std::string& hint) const {
  throw Error(ErrorKind::bad_input, "--peft", module.name + ": " + problem, hint);
}

Param& PeftSharing::add(std::string_view name, std::initializer_list<int64_t> shape) {
  Param& param = placed(g.params, std::string(name), shape);
  param.trainable = g.context.training;
  param.dtype = DType::f32;
  return param;
}

Param& PeftSharing::add_buffer(std::string_view name, std::initializer_list<int64_t> shape,
                               DType dtype) {
  Param& param = placed(g.buffers, std::string(name), shape);
  param.trainable = false;
  param.dtype = dtype;
  return param;
}

bool adapt(Graph& g, const PeftModule& module) {
  const OpContext& c = g.context;
  const MethodRow* method = find_method(c.peft->kind);
  if (method == nullptr || c.targets == nullptr || c.peft->merged) return false;
  if (!adapted_by_role(*c.peft, module) && !c.targets->adapts(c.prefix + module.name, module.form))
    return false;
  if ((method->forms & bit(module.form)) == 0)
    throw Error(ErrorKind::bad_input, "--peft",
                "'" + module.name + "' is " +
                    std::string(kFormNames[static_cast<size_t>(module.form)]) + ", on which " +
                    std::string(to_string(c.peft->kind)) + " cannot sit",
                "name other modules");
  PeftSite site(g, module);
  method->parameters(site);
  g.adapted.push_back(module);
  return true;
}

void add_shared_peft(Graph& g, std::span<const AdaptedModule> adapted) {
  const MethodRow* method = find_method(g.context.peft->kind);
  if (method == nullptr || method->shared == nullptr || adapted.empty()) return;
  PeftSharing sharing{g, *g.context.peft, adapted};
  for (const AdaptedModule& m : adapted) {
    sharing.widest_in = std::max(sharing.widest_in, m.module->in);
    sharing.widest_out = std::max(sharing.widest_out, m.module->out);
    sharing.count = checked_add(sharing.count, m.count);
  }
  method->shared(sharing);
}

}  // namespace memplan
