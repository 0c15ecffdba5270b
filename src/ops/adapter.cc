#include "ops/adapter.h"

#include <algorithm>
#include <regex>

#include "base/text.h"
#include "memplan/error.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

bool is_regex(const std::vector<std::string>& targets) {
  return targets.size() == 1 && targets[0].find_first_of(kPatternCharacters) != std::string::npos;
}

bool sits_here(const Graph& g, AdapterSite site) {
  if (!g.context.adapters_here) return false;
  switch (g.context.peft->kind) {
    case PeftKind::houlsby:
      return true;
    case PeftKind::pfeiffer:
    case PeftKind::adapter_drop:
    case PeftKind::lin:
      return site == AdapterSite::after_mlp;
    case PeftKind::none:
    case PeftKind::lora:
      break;
  }
  return false;
}

// linear() of an adapter's own matrix: trained whatever the rest of the model does.
TensorId adapter_linear(Graph& g, TensorId x, std::string name, int64_t in, int64_t out) {
  const size_t first = g.params.size();
  const TensorId y = linear(g, x,
                            {.name = std::move(name),
                             .in = in,
                             .out = out,
                             .bias = true,
                             .output = "adapter linear output"});
  for (size_t i = first; i < g.params.size(); ++i) g.params[i].adapter = true;
  return y;
}

}  // namespace

struct LoraTargets::Pattern {
  std::regex regex;
};

LoraTargets::LoraTargets(const PeftSpec& peft) : peft_(peft) {
  if (peft.kind != PeftKind::lora || !is_regex(peft.targets)) return;
  constexpr const char* kForm = "give module names, such as q_proj, or a pattern of whole names";
  if (peft.targets[0].size() > kMaxPattern)
    throw Error(ErrorKind::bad_input, "--peft", "the regular expression is too long", kForm);
  try {
    // libstdc++'s breadth-first matcher: no pattern takes exponential time.
    pattern_ = std::make_unique<const Pattern>(Pattern{
        std::regex(peft.targets[0], std::regex::ECMAScript | std::regex_constants::__polynomial)});
  } catch (const std::regex_error&) {
    throw Error(ErrorKind::bad_input, "--peft",
                quoted(peft.targets[0]) + " is no regular expression, or too large a one", kForm);
  }
}

LoraTargets::~LoraTargets() = default;

bool LoraTargets::targeted(std::string_view module) const {
  if (pattern_) return std::regex_match(module.begin(), module.end(), pattern_->regex);
  if (peft_.targets.size() == 1 && peft_.targets[0] == "all-linear") return true;
  return std::any_of(peft_.targets.begin(), peft_.targets.end(),
                     [&](const std::string& target) { return names_module(target, module); });
}

int64_t LoraTargets::rank(std::string_view module) const {
  if (peft_.kind != PeftKind::lora || peft_.merged || !targeted(module)) return 0;
  for (const auto& [target, rank] : peft_.rank_pattern)
    if (names_module(target, module)) return rank;
  return peft_.rank;
}

bool names_module(std::string_view target, std::string_view module) {
  if (!module.ends_with(target)) return false;
  return module.size() == target.size() || module[module.size() - target.size() - 1] == '.';
}

TensorId adapter(Graph& g, TensorId x, int64_t width, AdapterSite site) {
  if (!sits_here(g, site)) return x;
  const std::string name =
      site == AdapterSite::after_attention ? "attention_adapter" : "mlp_adapter";
  const int64_t m = g.context.peft->bottleneck;
  const OpContext outside = g.context;
  static const PeftSpec kNoPeft;  // inside the adapter every parameter is the adapter's own
  g.context.peft = &kNoPeft;
  g.context.trainable = Trainable::Kind::all;
  g.context.block_trainable = true;
  TensorId in = x;
  if (outside.peft->kind == PeftKind::lin) {
    const size_t first = g.params.size();
    in = norm(g, x, {.name = name + ".norm", .width = width, .bias = true});
    for (size_t i = first; i < g.params.size(); ++i) g.params[i].adapter = true;
  }
  const TensorId down = adapter_linear(g, in, name + ".down", width, m);
  const TensorId middle = activation(g, down, "gelu");
  const TensorId up = adapter_linear(g, middle, name + ".up", m, width);
  g.context = outside;
  return add(g, x, up, "adapter sum");
}

}  // namespace memplan
