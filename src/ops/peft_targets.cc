#include <algorithm>
#include <charconv>
#include <regex>

#include "base/text.h"
#include "memplan/error.h"
#include "ops/peft.h"

namespace memplan {
namespace {

constexpr std::string_view kAllLinear = "all-linear";

bool is_pattern(const std::vector<std::string>& targets) {
  return targets.size() == 1 && targets[0].find_first_of(kPatternCharacters) != std::string::npos;
}

bool has_digit(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool any_names(const std::vector<std::string>& targets, std::string_view module) {
  return std::any_of(targets.begin(), targets.end(),
                     [&](const std::string& target) { return names_module(target, module); });
}

int64_t as_index(std::string_view part) {
  int64_t value = -1;
  const auto [end, status] = std::from_chars(part.data(), part.data() + part.size(), value);
  return status == std::errc() && end == part.data() + part.size() ? value : -1;
}

}  // namespace

struct PeftTargets::Pattern {
  std::regex regex;
  bool matches(std::string_view text) const {
    return std::regex_match(text.begin(), text.end(), regex);
  }
  static std::unique_ptr<const Pattern> compile(const std::vector<std::string>& targets) {
    if (!is_pattern(targets)) return nullptr;
    constexpr const char* kForm = "give module names, such as q_proj, or a pattern of whole names";
    if (targets[0].size() > kMaxPattern)
      throw Error(ErrorKind::bad_input, "--peft", "the regular expression is too long", kForm);
    try {
      // libstdc++'s breadth-first matcher: no pattern takes exponential time.
      return std::make_unique<const Pattern>(Pattern{
          std::regex(targets[0], std::regex::ECMAScript | std::regex_constants::__polynomial)});
    } catch (const std::regex_error&) {
      throw Error(ErrorKind::bad_input, "--peft",
                  quoted(targets[0]) + " is no regular expression, or too large a one", kForm);
    }
  }
};

PeftTargets::PeftTargets(const PeftSpec& peft) : peft_(peft) {
  if (!peft_method(peft.kind).targets) return;
  target_ = Pattern::compile(peft.targets);
  excluded_ = Pattern::compile(peft.excluded);
  by_layer_ = target_ || excluded_ || !peft.layers.empty();
  for (const auto* names : {&peft.targets, &peft.excluded, &peft.feedforward})
    by_layer_ |= std::any_of(names->begin(), names->end(), has_digit);
  for (const auto& [name, rank] : peft.rank_pattern) by_layer_ |= has_digit(name);
}

PeftTargets::~PeftTargets() = default;

bool PeftTargets::named(std::string_view module, ModuleForm form) const {
  if (target_) return target_->matches(module);
  if (peft_.targets.size() == 1 && peft_.targets[0] == kAllLinear)
    return form == ModuleForm::linear || form == ModuleForm::conv1d;
  return any_names(peft_.targets, module);
}

// layers_to_transform: the first number that stands alone in the name is the layer's
// (tuners_utils.py, check_target_module_exists).
bool PeftTargets::in_layers(std::string_view module) const {
  if (peft_.layers.empty()) return true;
  std::string_view before;
  int parts_before = 0;
  for (std::string_view part : split(module, '.')) {
    const int64_t index = as_index(part);
    const bool counted = peft_.layer_pattern.empty()
                             ? parts_before >= 2
                             : std::find(peft_.layer_pattern.begin(), peft_.layer_pattern.end(),
                                         before) != peft_.layer_pattern.end();
    if (index >= 0 && counted)
      return std::find(peft_.layers.begin(), peft_.layers.end(), index) != peft_.layers.end();
    before = part;
    ++parts_before;
  }
  return false;
}

bool PeftTargets::adapts(std::string_view module, ModuleForm form) const {
  if (excluded_ ? excluded_->matches(module) : any_names(peft_.excluded, module)) return false;
  if (saved_whole(peft_, std::string(module) + ".")) return false;
  if (!named(module, form)) return false;
  const bool whole = !target_ && std::find(peft_.targets.begin(), peft_.targets.end(), module) !=
                                     peft_.targets.end();
  return target_ || whole || in_layers(module);
}

int64_t PeftTargets::sized(std::string_view module, int64_t fallback) const {
  for (const auto& [name, rank] : peft_.rank_pattern)
    if (names_module(name, module)) return rank;
  return fallback;
}

bool names_module(std::string_view target, std::string_view module) {
  if (!module.ends_with(target)) return false;
  return module.size() == target.size() || module[module.size() - target.size() - 1] == '.';
}

bool peft_trains_bias(std::string_view param, const OpContext& context) {
  constexpr std::string_view kBias = ".bias";
  if (param == "bias") return context.peft->bias == PeftBias::all;
  if (!param.ends_with(kBias)) return false;
  if (context.peft->bias == PeftBias::all) return true;
  param.remove_suffix(kBias.size());
  return context.targets != nullptr &&
         context.targets->adapts(context.prefix + std::string(param), ModuleForm::linear);
}

}  // namespace memplan
