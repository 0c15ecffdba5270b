#include "input/hf_config.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/text.h"
#include "input/hf_families.h"

namespace memplan {
namespace {

// Where the language model of a multimodal config is described: transformers' own key, InternVL's
// remote code, DeepSeek-VL's.
constexpr std::array<std::string_view, 3> kTextParts = {"text_config", "llm_config",
                                                        "language_config"};

struct KnownClass {
  const HfFamily* family;
  const HfClass* row;
};

std::optional<KnownClass> find_class(std::string_view name) {
  for (const HfFamily& family : hf_families()) {
    if (!name.starts_with(family.stem)) continue;
    for (const HfClass& row : family.classes)
      if (name.substr(family.stem.size()) == row.suffix) return {{&family, &row}};
  }
  return {};
}

std::vector<std::string> class_names(const HfFamily& family) {
  std::vector<std::string> names;
  for (const HfClass& row : family.classes)
    names.push_back(std::string(family.stem) + std::string(row.suffix));
  return names;
}

std::string_view type_alias(std::string_view type) {
  for (const auto& [alias, family] : hf_type_aliases())
    if (alias == type) return family;
  return {};
}

std::string_view default_text_type(std::string_view whole) {
  for (const auto& [type, text] : hf_text_types())
    if (type == whole) return text;
  return {};
}

// A text, or empty where the key is absent or null.
std::string text_or_empty(const JsonNode& node, std::string_view key) {
  const auto found = node.find(key);
  return found && !found->is_null() ? found->text() : std::string();
}

// architectures[0], or empty.
std::string first_class(const JsonNode& config) {
  const auto found = config.find("architectures");
  if (!found || found->is_null()) return {};
  const std::vector<std::string> names = found->texts();
  return names.empty() ? std::string() : names.front();
}

// The part that describes the language model; a multimodal type that leaves it out means its text
// type's defaults, which an empty object stands for.
std::optional<JsonNode> text_part(const JsonNode& root, const JsonDocument& empty,
                                  std::string_view whole_type) {
  for (std::string_view key : kTextParts) {
    const auto part = root.find(key);
    if (part && !part->is_null()) return part->require_object();
  }
  const bool flat = !type_alias(whole_type).empty();  // the fields stand in the root
  if (!flat && !default_text_type(whole_type).empty()) return empty.root();
  return {};
}

// Names the parts of the file that ModelSpec leaves out.
void name_left_out(const JsonNode& root, bool multimodal, std::vector<std::string>& names) {
  const auto kind = [](const JsonNode& part, std::string_view key) {
    const auto found = part.find(key);
    return found && found->is_text() ? " (" + printable(found->text()) + ")" : std::string();
  };
  for (std::string_view key : root.keys()) {
    const JsonNode part = root.at(key);
    if (!part.is_object() || std::ranges::find(kTextParts, key) != kTextParts.end()) continue;
    if (key == "quantization_config") {
      names.push_back("quantization_config" + kind(part, "quant_method") +
                      ": weights count as unquantized");
    } else if (multimodal && key.ends_with("_config") && key != "generation_config") {
      names.push_back(printable(key) + kind(part, "model_type"));
    }
  }
  if (multimodal) names.push_back("the layers that join other modalities to the language model");
  if (const auto mtp = root.find("num_nextn_predict_layers"); mtp && !mtp->is_null()) {
    if (mtp->count(0) > 0)
      names.push_back(
          "num_nextn_predict_layers: multi-token-prediction layers, which transformers' "
          "class leaves out too");
  }
}

Error unknown_type(const JsonNode& where, const std::string& type) {
  std::vector<std::string_view> names;
  for (const HfFamily& family : hf_families()) names.push_back(family.type);
  return where.error("unknown model_type '" + printable(type) + "'", name_hint(type, names));
}

// Sets what the class decides; it must be one of the family's.
void read_class(const HfFamily& family, const JsonNode& config, const std::string& name,
                ModelSpec& model) {
  if (name.empty()) return;
  const JsonNode where = config.missing("architectures");
  const auto known = find_class(name);
  if (known && known->family == &family) {
    model.head = known->row->head;
    if (!known->row->extra.empty()) model.extra.emplace_back(known->row->extra, 1);
    if (known->row->encoder_only) model.decoder_layers = 0;
    return;
  }
  if (known) {
    throw where.error(
        "class '" + name + "' does not belong to model_type '" + std::string(family.type) + "'",
        "correct one of the two");
  }
  const std::vector<std::string> names = class_names(family);
  throw where.error("class '" + printable(name) + "' is not modelled",
                    name_hint(name, {names.begin(), names.end()}), ErrorKind::not_modelled);
}

struct Choice {
  const HfFamily* family;
  bool defaults_known;
};

// The family that describes `config`; `fallback`: its model_type where it names none.
Choice choose_family(const JsonNode& config, const std::string& class_name,
                     std::string_view fallback) {
  std::string type = text_or_empty(config, "model_type");
  if (type.empty()) {
    if (const auto known = find_class(class_name)) return {known->family, true};
    type = fallback;
  }
  if (const HfFamily* family = find_hf_family(type)) return {family, true};
  if (const std::string_view alias = type_alias(type); !alias.empty())
    return {find_hf_family(alias), false};
  if (!type.empty()) throw unknown_type(config.missing("model_type"), type);

  const ForeignFile foreign = recognise_foreign(config);
  if (!foreign.what.empty())
    throw config.error("is not a model's config.json but looks like " + std::string(foreign.what),
                       std::string(foreign.advice));
  if (!class_name.empty())
    throw config.missing("architectures")
        .error("unknown class '" + printable(class_name) + "' and no model_type beside it");
  const std::string near = nearest_name("model_type", config.keys());
  throw config.missing("model_type")
      .error("is absent, and the file has no architectures either",
             near.empty() ? "is this a model's config.json?"
                          : "is '" + printable(near) + "' a slip for it?");
}

}  // namespace

ModelSpec read_hf_config(std::string_view text, const std::string& file) {
  const JsonDocument document(text, file);
  return read_hf_config(document.root(), file);
}

ModelSpec read_hf_config(const JsonNode& root, const std::string& name) {
  root.require_object();
  const std::string whole_type = text_or_empty(root, "model_type");
  const JsonDocument no_text_part("{}", root.missing("text_config").where() + " (absent)");
  const auto part = text_part(root, no_text_part, whole_type);
  const JsonNode config = part.value_or(root);

  const std::string class_name = first_class(config);
  const Choice choice = choose_family(config, class_name, default_text_type(whole_type));
  ModelSpec model = read_hf_fields(*choice.family, config, choice.defaults_known);
  model.name = name;
  model.head = choice.family->head;
  // The class of a multimodal whole (LlavaForConditionalGeneration) wraps the model with its head.
  if (!part && choice.defaults_known) read_class(*choice.family, config, class_name, model);
  if (part) {
    // As LlavaConfig: either may tie the head; the whole's word counts where the part has none.
    const auto tie = root.find("tie_word_embeddings");
    const bool own = part->find("tie_word_embeddings").has_value();
    if (tie && !tie->is_null() && (tie->boolean() || !own)) model.tie_embeddings = tie->boolean();
  }
  if (model.head != ModelHead::sequence_classification) model.labels = 0;

  const bool multimodal = part.has_value() || root.find("vision_config").has_value();
  name_left_out(root, multimodal, model.not_modelled);
  const std::string defaults = std::move(model.source);
  model.source = text_or_empty(root, "_source");
  if (model.source.empty()) model.source = printable(name);
  if (!defaults.empty()) model.source += "; transformers 5.12.1's defaults for " + defaults;
  return model;
}

}  // namespace memplan
