// The option --peft KIND[:key=value,…], and what peft adapts by default.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "input/peft_config.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kMaxWidth = int64_t{1} << 20;  // of ranks and bottlenecks

// TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING of peft 0.21, utils/constants.py: the families
// memplan has. The others have no row there either.
struct TargetsRow {
  std::string_view family;
  std::array<std::string_view, 4> targets;
};
constexpr auto kDefaultTargets = std::to_array<TargetsRow>({
    {"t5", {"q", "v"}},
    {"gpt2", {"c_attn"}},
    {"bloom", {"query_key_value"}},
    {"opt", {"q_proj", "v_proj"}},
    {"gptj", {"q_proj", "v_proj"}},
    {"gpt_neox", {"query_key_value"}},
    {"bert", {"query", "value"}},
    {"roberta", {"query", "value"}},
    {"deberta-v2", {"query_proj", "value_proj"}},
    {"llama", {"q_proj", "v_proj"}},
    {"falcon", {"query_key_value"}},
    {"mistral", {"q_proj", "v_proj"}},
    {"mixtral", {"q_proj", "v_proj"}},
    {"stablelm", {"q_proj", "v_proj"}},
    {"phi", {"q_proj", "v_proj", "fc1", "fc2"}},
    {"gemma", {"q_proj", "v_proj"}},
    {"gemma2", {"q_proj", "v_proj"}},
    {"gemma3_text", {"q_proj", "v_proj"}},
    {"qwen2", {"q_proj", "v_proj"}},
    {"qwen3", {"q_proj", "v_proj"}},
});

// One key=value of the option; a bare word has an empty value and `bare` set.
struct Setting {
  std::string_view key, value;
  bool bare = false;
};

class OptionReader {
 public:
  explicit OptionReader(std::string_view where) : where_(where) {}

  PeftSpec read(std::string_view text) {
    const size_t colon = text.find(':');
    kind_ = text.substr(0, colon);
    std::string kind(kind_);
    std::ranges::replace(kind, '_', '-');
    peft_.kind = parse_name<PeftKind>(kind, where_);
    if (colon == text.npos) return std::move(peft_);
    if (text.size() > kLongest) throw error("is too long");
    std::vector<std::string_view> seen;
    for (std::string_view part : split(text.substr(colon + 1), ',')) {
      const Setting setting = split_setting(part);
      for (std::string_view key : seen)
        if (key == setting.key) throw error("'" + printable(key) + "' is given twice");
      seen.push_back(setting.key);
      apply(setting);
    }
    return std::move(peft_);
  }

 private:
  static constexpr size_t kLongest = 10000;

  Error error(std::string problem, std::string hint = {}) const {
    return Error(ErrorKind::bad_input, std::string(where_), std::move(problem), std::move(hint));
  }

  Setting split_setting(std::string_view part) const {
    if (part.empty()) throw error("a setting is empty", "write key=value, separated by commas");
    const size_t equals = part.find('=');
    if (equals == part.npos) return {part, {}, true};
    return {part.substr(0, equals), part.substr(equals + 1)};
  }

  std::vector<std::string_view> keys() const {
    switch (peft_.kind) {
      case PeftKind::none:
        return {};
      case PeftKind::lora:
        return {"r", "alpha", "dropout", "targets", "rank.NAME", "save", "merged"};
      case PeftKind::houlsby:
      case PeftKind::pfeiffer:
      case PeftKind::lin:
        return {"m"};
      case PeftKind::adapter_drop:
        return {"m", "drop"};
    }
    return {};
  }

  void apply(const Setting& setting) {
    const std::string_view key = setting.key;
    if (peft_.kind == PeftKind::lora ? apply_lora(setting) : apply_adapter(setting)) return;
    throw error("'" + printable(kind_) + "' has no setting '" + printable(key) + "'",
                name_hint(key, keys()));
  }

  bool apply_lora(const Setting& setting) {
    const std::string_view key = setting.key;
    if (key == "merged") {
      if (!setting.bare) throw error("'merged' takes no value");
      peft_.merged = true;
    } else if (key == "r") {
      peft_.rank = count(setting, 1, kMaxWidth);
    } else if (key == "alpha") {
      peft_.alpha = number(setting);
    } else if (key == "dropout") {
      peft_.dropout = number(setting);
      if (!(peft_.dropout >= 0 && peft_.dropout <= 1))
        throw error("'dropout' must be a probability from 0 to 1");
    } else if (key == "targets") {
      peft_.targets = names(setting);
    } else if (key == "save") {
      peft_.modules_to_save = names(setting);
    } else if (key.starts_with("rank.")) {
      const std::string_view module = key.substr(5);
      check_module_name(module, where_);
      peft_.rank_pattern.emplace_back(module, count(setting, 1, kMaxWidth));
    } else {
      return false;
    }
    return true;
  }

  bool apply_adapter(const Setting& setting) {
    if (peft_.kind == PeftKind::none) return false;
    if (setting.key == "m") {
      peft_.bottleneck = count(setting, 1, kMaxWidth);
    } else if (setting.key == "drop" && peft_.kind == PeftKind::adapter_drop) {
      peft_.dropped_layers = count(setting, 0, kMaxWidth);
    } else {
      return false;
    }
    return true;
  }

  std::vector<std::string> names(const Setting& setting) const {
    if (setting.value == "all-linear" && setting.key == "targets") return {"all-linear"};
    std::vector<std::string> list;
    for (std::string_view name : split(setting.value, '+')) {
      check_module_name(name, where_);
      list.emplace_back(name);
    }
    return list;
  }

  int64_t count(const Setting& setting, int64_t least, int64_t most) const {
    int64_t value = 0;
    const std::string_view text = setting.value;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc() || end != text.data() + text.size() || value < least || value > most)
      throw error("'" + printable(setting.key) + "' must be a whole number from " +
                  std::to_string(least) + " to " + std::to_string(most) + ", not '" +
                  printable(text) + "'");
    return value;
  }

  double number(const Setting& setting) const {
    double value = 0;
    const std::string_view text = setting.value;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
      throw error("'" + printable(setting.key) + "' must be a number, not '" + printable(text) +
                  "'");
    return value;
  }

  std::string_view where_, kind_;
  PeftSpec peft_;
};

}  // namespace

PeftSpec parse_peft(std::string_view text, std::string_view where) {
  if (text.ends_with(".json") || text.find('/') != text.npos)
    return read_peft_config(std::string(text));
  return OptionReader(where).read(text);
}

std::vector<std::string> default_lora_targets(std::string_view family, std::string_view where) {
  for (const TargetsRow& row : kDefaultTargets) {
    if (row.family != family) continue;
    std::vector<std::string> targets;
    for (std::string_view target : row.targets)
      if (!target.empty()) targets.emplace_back(target);
    return targets;
  }
  throw Error(ErrorKind::bad_input, std::string(where),
              "peft has no default target modules for '" + printable(family) + "'",
              "name them: lora:targets=q_proj+v_proj");
}

}  // namespace memplan
