#include "input/published_fields.h"

#include <array>

#include "base/text.h"
#include "input/hf_config.h"
#include "input/version.h"

namespace memplan {
namespace {

Error refusal(const JsonNode& node, std::string problem) {
  return node.error(std::move(problem), "", ErrorKind::not_modelled);
}

// Which model_type a published name stands for, and what its sizes do not say.
struct ModelRow {
  std::string_view name;  ///< the beginning, case folded
  std::string_view type;
  std::string_view extra;  ///< further members of its config.json
};
constexpr auto kModels = std::to_array<ModelRow>({
    {"llama-", "llama", ""},
    {"llama2", "llama", ""},
    {"phi-1", "phi", ""},
    {"phi-2", "phi", ""},
    // stabilityai/stablelm-base-alpha-3b/config.json
    {"stablelm-base-alpha", "gpt_neox", R"("use_parallel_residual": true)"},
    {"pythia-", "gpt_neox", R"("use_parallel_residual": true)"},
    // tiiuae/falcon-40b/config.json
    {"falcon-40b", "falcon", R"("new_decoder_architecture": true, "bias": false)"},
    {"falcon-7b", "falcon", R"("multi_query": true, "parallel_attn": true, "bias": false)"},
    {"mistral-", "mistral", ""},
    {"gemma-2b", "gemma", ""},
    {"gemma-7b", "gemma", ""},
});

// A record's name of a size, and config.json's, of most families and of Falcon.
struct SizeRow {
  std::string_view key, config, falcon;
  bool required;
};
constexpr auto kSizes = std::to_array<SizeRow>({
    {"hidden", "hidden_size", "hidden_size", true},
    {"layers", "num_hidden_layers", "num_hidden_layers", true},
    {"heads", "num_attention_heads", "num_attention_heads", true},
    {"kv_heads", "num_key_value_heads", "num_kv_heads", false},
    {"head_dim", "head_dim", "", false},
    {"ffn", "intermediate_size", "ffn_hidden_size", true},
    {"vocab", "vocab_size", "vocab_size", true},
});

struct PrecisionRow {
  std::string_view begins, name;
};
constexpr auto kPrecisions = std::to_array<PrecisionRow>({
    {"fp16 params+grads, fp32 master", "mixed-fp16"},
    {"bf16-true", "bf16"},
    {"bf16-mixed", "amp-bf16"},
    {"16-mixed", "amp-fp16"},
    {"bf16", "bf16"},
    {"bfloat16", "bf16"},
    {"16-true", "fp16"},
    {"fp16", "fp16"},
    {"32-true", "fp32"},
    {"fp32", "fp32"},
});

struct QuantRow {
  std::string_view part;
  Quantization value;
};
// By litgpt and torchtune, which leave all else in 16 bits.
constexpr auto kQuantizations = std::to_array<QuantRow>({
    {"bnb.nf4-dq", {QuantKind::nf4, true, false}},
    {"bnb.nf4", {QuantKind::nf4, false, false}},
    {"bnb.fp4-dq", {QuantKind::fp4, true, false}},
    {"bnb.fp4", {QuantKind::fp4, false, false}},
    {"bnb.int8", {QuantKind::int8, false, false}},
    {"nf4", {QuantKind::nf4, true, false}},  // torchao's NF4Tensor quantizes the scales too
});

struct OptimizerRow {
  std::string_view begins;
  OptimizerKind kind;
};
constexpr auto kOptimizers = std::to_array<OptimizerRow>({
    {"adamw (bnb pagedadamw)", OptimizerKind::paged_adamw},
    {"bnb pagedadamw8bit", OptimizerKind::paged_adamw8bit},
    {"bnb adamw8bit", OptimizerKind::adam8bit},
    {"adamw8bit", OptimizerKind::adam8bit},
    {"adamw", OptimizerKind::adamw},
    {"lora-fa", OptimizerKind::adamw},  // of what it trains: peft/optimizers/lorafa.py
    {"adam", OptimizerKind::adam},
    {"sgd", OptimizerKind::sgd},
    {"adalomo", OptimizerKind::adalomo},
    {"lomo", OptimizerKind::lomo},
    {"adafactor", OptimizerKind::adafactor},
    {"lion", OptimizerKind::lion},
});

// A whole word, or what a space or bracket ends: "AdamW on…", not "AdamW4bit".
bool begins(std::string_view text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  const char next = text.size() > word.size() ? text[word.size()] : ' ';
  return next == ' ' || next == ',' || next == '(' || next == '+' || next == '/' || next == ';';
}

JsonNode model_field(const JsonNode& line, std::string_view key, std::string_view what) {
  const JsonNode model = line.at("model").require_object();
  const auto value = model.find(key);
  if (!value || value->is_null()) throw unsaid(model, what);
  return *value;
}

// "torch 2.13.0+cu130" within "peft 0.19, torch 2.13.0+cu130".
std::string_view word_after(std::string_view text, std::string_view name) {
  for (std::string_view part : split(text, ',')) {
    part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
    if (!part.starts_with(name) || part.size() <= name.size() || part[name.size()] != ' ') continue;
    part.remove_prefix(name.size() + 1);
    return part.substr(0, part.find(' '));
  }
  return {};
}

}  // namespace

Error unsaid(const JsonNode& line, std::string_view what) {
  return refusal(line, "the record does not say the " + std::string(what));
}

std::string published_text(const JsonNode& line, std::string_view key) {
  const auto found = line.find(key);
  return found && !found->is_null() ? found->text() : std::string();
}

ModelSpec published_model(const JsonNode& line) {
  const JsonNode model = line.at("model").require_object();
  const std::string name = model_field(line, "name", "model").text();
  const ModelRow* family = nullptr;
  for (const ModelRow& row : kModels)
    if (family == nullptr && fold_case(name).starts_with(row.name)) family = &row;
  if (family == nullptr)
    throw refusal(model, "model '" + printable(name) + "' is not known by name");

  std::string config = R"({"model_type": ")" + std::string(family->type) + '"';
  const auto add = [&](std::string_view key, const std::string& value) {
    config += ", \"" + std::string(key) + "\": " + value;
  };
  for (const SizeRow& row : kSizes) {
    const std::string_view key = family->type == "falcon" ? row.falcon : row.config;
    const auto value = model.find(row.key);
    if ((!value || value->is_null()) && row.required)
      throw unsaid(model, "model's " + std::string(row.key));
    if (value && !value->is_null() && !key.empty()) add(key, std::to_string(value->count()));
  }
  if (const auto tied = model.find("tied_embeddings"); tied && !tied->is_null())
    add("tie_word_embeddings", tied->boolean() ? "true" : "false");
  if (!family->extra.empty()) config += ", " + std::string(family->extra);
  ModelSpec spec = read_hf_config(config + '}', model.where());
  spec.name = name;
  return spec;
}

int64_t published_sequence(const JsonNode& line, std::string_view otherwise) {
  const auto said = line.at("model").find("seq");
  if (said && !said->is_null()) return said->count();
  return model_field(line, otherwise, "sequence length").count();
}

int64_t published_micro_batch(const JsonNode& line) {
  const auto found = line.find("micro_batch");
  if (!found || found->is_null()) throw unsaid(line, "micro-batch");
  return found->count();
}

void require_one_gpu(const JsonNode& line) {
  const auto found = line.find("n_gpus");
  if (!found || found->is_null()) return;  // a paper's sum over the model
  if (found->count() > 1)
    throw refusal(*found, "jobs of this source on several GPUs are not modelled");
}

Precision published_precision(const JsonNode& line) {
  const std::string text = lower(published_text(line, "precision"));
  if (text.empty()) throw unsaid(line, "precision");
  for (const PrecisionRow& row : kPrecisions)
    if (begins(text, row.begins)) return parse_precision(row.name, line.where());
  throw refusal(line, "precision '" + printable(text) + "' is not modelled");
}

Quantization published_quantization(const JsonNode& line) {
  const std::string text = lower(published_text(line, "precision"));
  for (const QuantRow& row : kQuantizations)
    if (text.find(row.part) != text.npos) return row.value;
  return {};
}

OptimizerKind published_optimizer(const JsonNode& line) {
  const std::string text = lower(published_text(line, "optimizer"));
  if (text.empty() || text == "recipe default") throw unsaid(line, "optimizer");
  for (const OptimizerRow& row : kOptimizers)
    if (begins(text, row.begins)) return row.kind;
  throw refusal(line, "optimizer '" + printable(text) + "' is not modelled");
}

Recompute published_recompute(const JsonNode& line) {
  const std::string text = lower(published_text(line, "recompute"));
  if (begins(text, "none")) return Recompute::none;
  if (begins(text, "full")) return Recompute::full;
  if (text.empty() || text.starts_with("recipe default")) throw unsaid(line, "recomputation");
  throw refusal(line, "recomputation '" + printable(text) + "' is not modelled");
}

void published_versions(const JsonNode& line, Strategy& strategy) {
  const std::string text = published_text(line, "framework_version");
  const std::string where = line.missing("framework_version").where();
  if (const auto torch = word_after(text, "torch"); !torch.empty())
    strategy.torch = parse_version(torch, where);
  if (const auto library = word_after(text, "peft"); !library.empty())
    strategy.peft.version = parse_version(library, where);
  if (const auto library = word_after(text, "transformers"); !library.empty())
    strategy.transformers = parse_version(library, where);
}

bool published_flag(const JsonNode& line, std::string_view name) {
  const auto flags = line.find("flags");
  const auto flag = flags ? flags->find(name) : std::nullopt;
  return flag && !flag->is_null() && !flag->is_false();
}

}  // namespace memplan
