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

// Methods of peft_types.py that memplan does not have.
constexpr auto kOtherMethods =
    std::to_array<std::string_view>({"ADAMSS", "FROD", "XLORA", "SHADOW"});

// Options that change what is trained or stored and that PeftSpec cannot express.
constexpr auto kNotModelled = std::to_array<std::string_view>(
    {"use_qalora", "layer_replication", "target_parameters", "trainable_token_indices",
     "megatron_config", "arrow_config", "kasa_config", "velora_config", "monteclora_config",
     "alora_invocation_tokens", "ensure_weight_tying", "proportional_parameters",
     "runtime_offload_base_weight", "target_svd_config", "prompt_tuning_init_state_dict_path"});

// Fields that change neither what is trained nor how much is stored: how values start, what scales
// them, bookkeeping of the file.
constexpr auto kHarmless = std::to_array<std::string_view>({
    "peft_type",
    "auto_mapping",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "task_type",
    "inference_mode",
    "method",
    "fan_in_fan_out",
    "init_weights",
    "init_lora_weights",
    "init_ia3_weights",
    "use_rslora",
    "alpha_pattern",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
    "target_r",
    "tinit",
    "tfinal",
    "deltaT",
    "beta1",
    "beta2",
    "orth_reg_weight",
    "total_step",
    "cpt_mask",
    "cpt_tokens_type_mask",
    "opt_weighted_loss_type",
    "opt_loss_decay_factor",
    "opt_projection_epsilon",
    "opt_projection_format_epsilon",
    "tokenizer_name_or_path",
    "tokenizer_kwargs",
    "init_scale",
    "delora_lambda",
    "lambda_pattern",
    "scaling",
    "random_loc_seed",
    "mini_r",
    "rank_dropout",
    "rank_dropout_scale",
    "use_effective_conv2d",
    "coft",
    "eps",
    "cayley_neumann_eps",
    "mask_type",
    "random_seed",
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "prompt_tuning_init_task",
    "act_fn",
    "poly_type",
    "ab_svd_init",
    "psoft_svd",
    "psoft_svd_lowrank_niter",
    "projection_prng_key",
    "save_projection",
    "d_initial",
    "sample_at_inference",
    "generator_seed",
    "sparse",
    "very_sparse",
    "select_top",
    "save_precomputed_indices",
    "projection_seed",
    "init_v_bound",
    "proj_seed",
    "init_theta_d_bound",
    "save_indices",
    "save_only_topk_weights",
    "init_vector_bank_bound",
    "init_logits_std",
    "wavelet_family",
    // beside num_virtual_tokens, for methods whose shapes do not depend on them
    "num_layers",
    "num_attention_heads",
    "num_transformer_submodules",
    "token_dim",
    "encoder_hidden_size",
});

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

void read_module_list(const JsonNode& root, std::string_view key, std::vector<std::string>& names) {
  const auto node = find_set(root, key);
  if (!node) return;
  if (node->is_text())
    names = {node->text().find_first_of(kPatternCharacters) == std::string::npos ? node->text()
                                                                                 : pattern(*node)};
  else
    names = module_names(*node);
}

void read_layers(const JsonNode& root, PeftSpec& peft) {
  constexpr int64_t kMostLayers = int64_t{1} << 20;
  if (const auto layers = find_set(root, "layers_to_transform")) {
    if (layers->is_array())
      peft.layers = layers->counts(0, kMostLayers);
    else
      peft.layers = {layers->count(0, kMostLayers)};
  }
  if (const auto names = find_set(root, "layers_pattern")) {
    if (names->is_text())
      peft.layer_pattern = {names->text()};
    else
      peft.layer_pattern = module_names(*names);
    if (peft.layer_pattern == std::vector<std::string>{""}) peft.layer_pattern.clear();
  }
}

void read_bias(const JsonNode& root, PeftSpec& peft) {
  const auto bias = find_set(root, "bias");
  if (!bias) return;
  const std::string text = bias->text();
  if (text.ends_with("_only"))
    peft.bias = PeftBias::adapted;
  else
    peft.bias =
        bias->one_of({"none", "all", "lora_only"}) == "all" ? PeftBias::all : PeftBias::none;
}

void read_pattern(const JsonNode& root, std::string_view key, PeftSpec& peft) {
  const auto ranks = find_set(root, key);
  // AdaLoRA's rank_pattern is what training has pruned, not what it starts from.
  if (!ranks || peft.kind == PeftKind::adalora) return;
  for (std::string_view name : ranks->require_object().keys()) {
    const JsonNode rank = ranks->at(name);
    if (name.find_first_of(kPatternCharacters) != name.npos)
      throw rank.error("regular expressions in " + std::string(key) + " are not modelled",
                       "write module-name endings", ErrorKind::not_modelled);
    peft.rank_pattern.emplace_back(name, rank.count(1, kMaxRank));
  }
}

void read_block_diagonal(const JsonNode& root, PeftSpec& peft) {
  const auto node = find_set(root, "use_bdlora");
  if (!node || is_off(*node)) return;
  BlockDiagonal& blocks = peft.block_diagonal;
  blocks.blocks = node->require_object().at("nblocks").count(1, kMaxRank);
  read_module_list(*node, "target_modules_bd_a", blocks.a);
  read_module_list(*node, "target_modules_bd_b", blocks.b);
}

// Words of init_weights that choose another forward (miss/layer.py, update_layer).
void read_miss_form(const JsonNode& root, PeftSpec& peft) {
  const auto node = find_set(root, "init_weights");
  if (node && node->is_text())
    peft.number(PeftNumber::variant) = node->one_of({"mini", "bat"}) == "bat" ? 2 : 1;
}

// The tokens themselves are listed; their number matters.
void read_tokens(const JsonNode& root, std::string_view key, PeftSpec& peft) {
  if (const auto list = find_set(root, key))
    peft.number(PeftNumber::tokens) = static_cast<int64_t>(list->items().size());
}

void read_task(const JsonNode& root, PeftSpec& peft) {
  if (const auto task = find_set(root, "task_type")) add_task_modules(task->text(), peft);
}

std::vector<std::string_view> known_keys(const PeftMethodRow& method) {
  std::vector<std::string_view> keys(kHarmless.begin(), kHarmless.end());
  keys.insert(keys.end(), kNotModelled.begin(), kNotModelled.end());
  keys.insert(keys.end(), {"modules_to_save"});
  if (method.targets)
    keys.insert(keys.end(), {"target_modules", "exclude_modules", "layers_to_transform",
                             "layers_pattern", "bias", "r"});
  for (std::string_view key : {method.rank_key, method.alpha_key, method.dropout_key,
                               method.pattern_key, method.fraction_key})
    if (!key.empty()) keys.push_back(key);
  for (const PeftSetting& row : peft_settings())
    if (row.kind == method.kind) keys.push_back(row.key);
  if (method.kind == PeftKind::lora) keys.push_back("use_bdlora");
  if (method.kind == PeftKind::adalora)
    keys.insert(keys.end(), {"rank_pattern", "use_dora", "lora_bias", "use_bdlora"});
  // 0.21.2 looks HiRA's rank_pattern up and then builds every module with r (hira/model.py).
  if (method.kind == PeftKind::hira) keys.push_back("rank_pattern");
  if (method.kind == PeftKind::ia3) keys.push_back("feedforward_modules");
  if (method.kind == PeftKind::trainable_tokens) keys.push_back("token_indices");
  if (method.kind == PeftKind::adaption_prompt) keys.push_back("target_modules");
  if (method.kind == PeftKind::cpt) keys.push_back("cpt_token_ids");
  return keys;
}

void refuse_unknown(const JsonNode& root, const PeftMethodRow& method) {
  const std::vector<std::string_view> known = known_keys(method);
  for (std::string_view key : root.keys()) {
    const JsonNode node = root.at(key);
    const bool off = is_off(node);
    if (!off && std::find(kNotModelled.begin(), kNotModelled.end(), key) != kNotModelled.end())
      throw node.error(std::string(method.type) + "'s " + std::string(key) + " is not modelled", "",
                       ErrorKind::not_modelled);
    if (off || std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string hint = name_hint(key, known);
    throw node.error(
        "memplan does not know this option of " + std::string(method.type), hint,
        hint.starts_with("did you mean") ? ErrorKind::bad_input : ErrorKind::not_modelled);
  }
}

// The length of the filters decides what the transform pads; db1's is known.
void refuse_wavelets(const JsonNode& root) {
  const auto family = find_set(root, "wavelet_family");
  if (family && family->text() != "db1")
    throw family->error("wavelets other than db1 are not modelled", "", ErrorKind::not_modelled);
}

PeftSpec read_method(const JsonNode& root, const PeftMethodRow& method) {
  refuse_unknown(root, method);
  refuse_wavelets(root);
  PeftSpec peft = make_peft(method.kind);
  if (const auto node = find_set(root, method.rank_key); node && !method.rank_key.empty())
    peft.rank = node->count(method.rank == 0 ? 0 : 1, kMaxRank);
  if (const auto node = find_set(root, method.alpha_key); node && !method.alpha_key.empty())
    peft.alpha = node->number();
  if (const auto node = find_set(root, method.dropout_key); node && !method.dropout_key.empty())
    peft.dropout = node->probability();
  if (const auto node = find_set(root, method.fraction_key); node && !method.fraction_key.empty())
    peft.fraction = node->probability();
  for (const PeftSetting& row : peft_settings())
    if (row.kind == method.kind)
      if (const auto node = root.find(row.key)) read_peft_setting(*node, row, peft);
  if (!method.pattern_key.empty()) read_pattern(root, method.pattern_key, peft);
  if (method.kind == PeftKind::oft && peft.rank != 0 && !root.find("oft_block_size"))
    peft.number(PeftNumber::block_size) = 0;
  if (method.kind == PeftKind::boft && peft.number(PeftNumber::block_count) != 0 &&
      !root.find("boft_block_size"))
    peft.number(PeftNumber::block_size) = 0;
  if (method.targets) {
    if (method.kind == PeftKind::trainable_tokens)
      read_module_list(root, "target_modules", peft.targets);
    else
      read_targets(root, peft);
    read_module_list(root, "exclude_modules", peft.excluded);
    read_layers(root, peft);
    read_bias(root, peft);
  }
  if (method.kind == PeftKind::lora) read_block_diagonal(root, peft);
  if (method.kind == PeftKind::miss) read_miss_form(root, peft);
  if (method.kind == PeftKind::ia3) read_module_list(root, "feedforward_modules", peft.feedforward);
  if (method.kind == PeftKind::trainable_tokens) read_tokens(root, "token_indices", peft);
  if (method.kind == PeftKind::cpt) read_tokens(root, "cpt_token_ids", peft);
  if (const auto save = find_set(root, "modules_to_save"))
    peft.modules_to_save = module_names(*save);
  read_task(root, peft);
  return peft;
}

std::vector<std::string_view> method_types() {
  std::vector<std::string_view> types(kOtherMethods.begin(), kOtherMethods.end());
  for (const PeftMethodRow& row : peft_methods())
    if (!row.type.empty()) types.push_back(row.type);
  return types;
}

}  // namespace

void read_peft_setting(const JsonNode& node, const PeftSetting& row, PeftSpec& peft) {
  int64_t& number = peft.number(row.number);
  if (node.is_null()) return;
  if (row.words.empty()) {
    number = node.count(row.least, row.most);
    return;
  }
  const std::vector<std::string_view> words = split(row.words, '|');
  if (row.words == "no|yes") {
    number = node.boolean() ? 1 : 0;
    return;
  }
  const std::string word = node.one_of(words);
  number = std::find(words.begin(), words.end(), word) - words.begin();
}

void add_task_modules(std::string_view name, PeftSpec& peft) {
  if (name == "SEQ_CLS" || name == "TOKEN_CLS")
    peft.modules_to_save.insert(peft.modules_to_save.end(), {"classifier", "score"});
  if (name == "QUESTION_ANS") peft.modules_to_save.emplace_back("qa_outputs");
}

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
  const std::string name = root.at("peft_type").one_of(method_types());
  return read_peft_method(root, name, root.at("peft_type"));
}

PeftSpec read_peft_method(const JsonNode& config, std::string_view method, const JsonNode& named) {
  for (const PeftMethodRow& row : peft_methods())
    if (!row.type.empty() && row.type == method) return read_method(config, row);
  throw named.error("the PEFT method " + printable(method) + " is not modelled",
                    name_hint(method, method_types()), ErrorKind::not_modelled);
}

PeftSpec read_peft_config(const std::string& path) {
  std::error_code ignored;
  std::string file = path;
  if (std::filesystem::is_directory(path, ignored))
    file = (std::filesystem::path(path) / "adapter_config.json").string();
  return parse_peft_config(read_text_file(file), file);
}

}  // namespace memplan
