// The option --peft KIND[:key=value,…].
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "input/peft_config.h"
#include "input/version.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kMaxWidth = int64_t{1} << 20;  // of ranks and bottlenecks

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
    peft_ = make_peft(parse_name<PeftKind>(kind, where_));
    if (peft_.kind == PeftKind::lora) peft_.alpha = 16;
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
  static constexpr std::string_view kPattern = "rank.NAME", kRankOf = "rank.";

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
    std::vector<std::string_view> keys;
    const PeftMethodRow& method = peft_method(peft_.kind);
    if (!method.rank_key.empty()) keys.push_back("r");
    if (!method.alpha_key.empty()) keys.push_back("alpha");
    if (!method.dropout_key.empty()) keys.push_back("dropout");
    if (!method.fraction_key.empty()) keys.push_back(method.fraction_key);
    if (!method.pattern_key.empty()) keys.push_back(kPattern);
    if (method.targets)
      keys.insert(keys.end(), {"targets", "exclude", "layers", "layers_pattern", "save", "bias"});
    else if (!method.type.empty())
      keys.push_back("save");
    if (!method.type.empty()) keys.push_back("version");
    if (peft_.kind == PeftKind::lora) keys.push_back("merged");
    if (peft_.kind == PeftKind::ia3) keys.push_back("feedforward");
    if (is_bottleneck()) keys.push_back("m");
    if (peft_.kind == PeftKind::adapter_drop) keys.push_back("drop");
    for (const PeftSetting& row : peft_settings())
      if (row.kind == peft_.kind) keys.push_back(row.key);
    return keys;
  }

  bool is_bottleneck() const {
    return peft_.kind == PeftKind::houlsby || peft_.kind == PeftKind::pfeiffer ||
           peft_.kind == PeftKind::lin || peft_.kind == PeftKind::adapter_drop;
  }

  void apply(const Setting& setting) {
    const std::string_view key = setting.key;
    const std::vector<std::string_view> known = keys();
    const std::string_view base = key.starts_with(kRankOf) ? kPattern : key;
    if (std::find(known.begin(), known.end(), base) == known.end())
      throw error("'" + printable(kind_) + "' has no setting '" + printable(key) + "'",
                  name_hint(key, known));
    for (const PeftSetting& row : peft_settings())
      if (row.kind == peft_.kind && row.key == key) {
        peft_.number(row.number) = setting_value(setting, row);
        return;
      }
    if (apply_size(setting)) return;
    if (key == "targets") {
      peft_.targets = names(setting);
    } else if (key == "exclude") {
      peft_.excluded = names(setting);
    } else if (key == "feedforward") {
      peft_.feedforward = names(setting);
    } else if (key == "layers_pattern") {
      peft_.layer_pattern = names(setting);
    } else if (key == "save") {
      peft_.modules_to_save = names(setting);
    } else if (key == "layers") {
      for (std::string_view part : split(setting.value, '+'))
        peft_.layers.push_back(count({key, part}, 0, kMaxWidth));
    } else if (key == "bias") {
      peft_.bias = peft_bias(setting.value);
    } else if (key == "version") {
      peft_.version = parse_version(setting.value, where_);
    } else if (key == "merged") {
      if (!setting.bare) throw error("'merged' takes no value");
      peft_.merged = true;
    }
  }

  bool apply_size(const Setting& setting) {
    const std::string_view key = setting.key;
    if (key == "r") {
      peft_.rank = count(setting, peft_method(peft_.kind).rank == 0 ? 0 : 1, kMaxWidth);
    } else if (key == "alpha") {
      peft_.alpha = number(setting);
    } else if (key == "dropout") {
      peft_.dropout = probability(setting);
    } else if (key == peft_method(peft_.kind).fraction_key) {
      peft_.fraction = probability(setting);
    } else if (key == "m") {
      peft_.bottleneck = count(setting, 1, kMaxWidth);
    } else if (key == "drop") {
      peft_.dropped_layers = count(setting, 0, kMaxWidth);
    } else if (key.starts_with(kRankOf)) {
      const std::string_view module = key.substr(kRankOf.size());
      check_module_name(module, where_);
      peft_.rank_pattern.emplace_back(module, count(setting, 1, kMaxWidth));
    } else {
      return false;
    }
    return true;
  }

  // A bare flag is set.
  int64_t setting_value(const Setting& setting, const PeftSetting& row) const {
    if (row.words.empty()) return count(setting, row.least, row.most);
    if (setting.bare && row.words == "no|yes") return 1;
    const std::vector<std::string_view> words = split(row.words, '|');
    const auto word = std::find(words.begin(), words.end(), setting.value);
    if (word == words.end())
      throw error("'" + printable(setting.key) + "' must be one of " + std::string(row.words) +
                      ", not '" + printable(setting.value) + "'",
                  name_hint(setting.value, words));
    return word - words.begin();
  }

  PeftBias peft_bias(std::string_view text) const {
    if (text == "none") return PeftBias::none;
    if (text == "all") return PeftBias::all;
    if (text == "adapted" || text.ends_with("_only")) return PeftBias::adapted;
    throw error("'bias' must be none, all or adapted, not '" + printable(text) + "'");
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

  double probability(const Setting& setting) const {
    const double value = number(setting);
    if (!(value >= 0 && value <= 1))
      throw error("'" + printable(setting.key) + "' must be a probability from 0 to 1");
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

}  // namespace memplan
