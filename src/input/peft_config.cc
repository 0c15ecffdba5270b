// Fields and defaults: peft 0.21, src/peft/tuners/lora/config.py and utils/peft_types.py.
#include "input/peft_config.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <regex>

#include "base/text.h"
#include "input/json.h"
#include "input/text_file.h"

namespace memplan {
namespace {

constexpr int64_t kMaxRank = int64_t{1} << 20;

// PeftType of peft_types.py; memplan has the first.
constexpr auto kMethods = std::to_array<std::string_view>({"LORA",
                                                           "PROMPT_TUNING",
                                                           "MULTITASK_PROMPT_TUNING",
                                                           "P_TUNING",
                                                           "PREFIX_TUNING",
                                                           "ADALORA",
                                                           "ADAMSS",
                                                           "BOFT",
                                                           "ADAPTION_PROMPT",
                                                           "IA3",
                                                           "BEFT",
                                                           "LILY",
                                                           "LOHA",
                                                           "LOKR",
                                                           "OFT",
                                                           "POLY",
                                                           "LN_TUNING",
                                                           "VERA",
                                                           "FROD",
                                                           "PVERA",
                                                           "FOURIERFT",
                                                           "GLORA",
                                                           "XLORA",
                                                           "HRA",
                                                           "VBLORA",
                                                           "UNILORA",
                                                           "CPT",
                                                           "MISS",
                                                           "BONE",
                                                           "RANDLORA",
                                                           "ROAD",
                                                           "TRAINABLE_TOKENS",
                                                           "HIRA",
                                                           "SHIRA",
                                                           "C3A",
                                                           "WAVEFT",
                                                           "OSF",
                                                           "DELORA",
                                                           "GRALORA",
                                                           "CARTRIDGE",
                                                           "TINYLORA",
                                                           "PSOFT",
                                                           "PEANUT",
                                                           "SHADOW",
                                                           "SUPERTUNING",
                                                           "DEFT"});

// Options that change what is trained or stored and that PeftSpec cannot express.
constexpr auto kNotModelled = std::to_array<std::string_view>(
    {"use_dora", "lora_bias", "use_qalora", "use_bdlora", "layers_to_transform", "exclude_modules",
     "layer_replication", "target_parameters", "trainable_token_indices", "megatron_config",
     "arrow_config", "kasa_config", "velora_config", "monteclora_config", "alora_invocation_tokens",
     "ensure_weight_tying"});

// Null, false, and empty lists and objects switch an option off.
bool is_off(const JsonNode& node) {
  if (node.is_null()) return true;
  if (node.is_object()) return node.keys().empty();
  if (node.is_array()) return node.items().empty();
  if (node.is_text()) return node.text().empty();
  return node.is_false();
}

std::optional<JsonNode> find_set(const JsonNode& root, std::string_view key) {
  auto found = root.find(key);
  if (found && found->is_null()) found.reset();
  return found;
}

std::vector<std::string> module_names(const JsonNode& list) {
  std::vector<std::string> names;
  for (const JsonNode& item : list.items()) {
    names.push_back(item.text());
    check_module_name(names.back(), item.where());
  }
  return names;
}

// One text: "all-linear" or a regular expression for the whole module name (re.fullmatch).
std::string pattern(const JsonNode& node) {
  const std::string text = node.text();
  if (lower(text) == "all-linear") return lower(text);
  if (text.find_first_of(kPatternCharacters) == text.npos)
    throw node.error("a text is a regular expression for the whole module name, which '" +
                         printable(text) + "' cannot be",
                     "write a list: [\"" + printable(text) + "\"]");
  if (text.size() > kMaxPattern) throw node.error("the regular expression is too long");
  try {
    const std::regex probe(text);
  } catch (const std::regex_error&) {
    throw node.error("memplan does not understand the regular expression '" + printable(text) + "'",
                     "use module-name endings or ECMAScript syntax");
  }
  return text;
}

void read_targets(const JsonNode& root, PeftSpec& peft) {
  const auto targets = find_set(root, "target_modules");
  if (!targets) return;
  if (targets->is_text()) {
    peft.targets = {pattern(*targets)};
    return;
  }
  peft.targets = module_names(*targets);
  if (peft.targets.empty()) throw targets->error("names no module");
}

PeftSpec read_lora(const JsonNode& root) {
  for (std::string_view key : kNotModelled) {
    const auto option = root.find(key);
    if (option && !is_off(*option))
      throw option->error("LoRA's " + std::string(key) + " is not modelled", "",
                          ErrorKind::not_modelled);
  }
  PeftSpec peft;
  peft.kind = PeftKind::lora;
  peft.rank = 8;
  peft.alpha = 8;
  if (const auto rank = root.find("r")) peft.rank = rank->count(1, kMaxRank);
  if (const auto alpha = root.find("lora_alpha")) peft.alpha = alpha->number();
  if (const auto dropout = root.find("lora_dropout")) peft.dropout = dropout->probability();
  if (const auto bias = root.find("bias")) {
    if (bias->one_of({"none", "all", "lora_only"}) != "none")
      throw bias->error("trained biases beside LoRA are not modelled", "", ErrorKind::not_modelled);
  }
  read_targets(root, peft);
  if (const auto ranks = find_set(root, "rank_pattern")) {
    for (std::string_view name : ranks->require_object().keys()) {
      const JsonNode rank = ranks->at(name);
      if (name.find_first_of(kPatternCharacters) != name.npos)
        throw rank.error("regular expressions in rank_pattern are not modelled",
                         "write module-name endings", ErrorKind::not_modelled);
      peft.rank_pattern.emplace_back(name, rank.count(1, kMaxRank));
    }
  }
  if (const auto save = find_set(root, "modules_to_save"))
    peft.modules_to_save = module_names(*save);
  return peft;
}

}  // namespace

void check_module_name(std::string_view target, std::string_view where) {
  if (target.empty()) throw Error(ErrorKind::bad_input, std::string(where), "the name is empty");
  if (target.find_first_of(kPatternCharacters) != target.npos)
    throw Error(ErrorKind::bad_input, std::string(where),
                "'" + printable(target) + "' is no ending of a module's name",
                "a regular expression stands alone, as a text and not in a list");
}

PeftSpec parse_peft_config(std::string_view text, const std::string& file) {
  const JsonDocument document(text, file);
  const JsonNode root = document.root().require_object();
  if (!root.find("peft_type") && root.find("model_type"))
    throw root.error("is a model's config.json, not an adapter_config.json", "give it as MODEL");
  const std::string method = root.at("peft_type").one_of({kMethods.begin(), kMethods.end()});
  return read_peft_method(root, method, root.at("peft_type"));
}

PeftSpec read_peft_method(const JsonNode& config, std::string_view method, const JsonNode& named) {
  if (method != kMethods.front())
    throw named.error("the PEFT method " + printable(method) + " is not modelled", "LORA is",
                      ErrorKind::not_modelled);
  return read_lora(config);
}

PeftSpec read_peft_config(const std::string& path) {
  std::error_code ignored;
  std::string file = path;
  if (std::filesystem::is_directory(path, ignored))
    file = (std::filesystem::path(path) / "adapter_config.json").string();
  return parse_peft_config(read_text_file(file), file);
}

}  // namespace memplan
