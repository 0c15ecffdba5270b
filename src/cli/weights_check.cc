#include "cli/weights_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

#include "base/text.h"
#include "input/safetensors.h"
#include "lower/inventory.h"
#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {
namespace {

constexpr size_t kNamesShown = 3;

// One tensor, or the experts of one layer together: checkpoints hold a tensor for each expert and
// projection, transformers 5 fuses them, and the element counts are the same.
struct Entry {
  std::vector<int64_t> shape;  // empty for experts
  int64_t elements = 0;
  bool experts = false;
};
using Entries = std::map<std::string, Entry, std::less<>>;

int64_t elements_of(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (int64_t size : shape) elements = checked_mul(elements, size);
  return elements;
}

void add(Entries& entries, const std::string& name, const std::vector<int64_t>& shape) {
  constexpr std::string_view kExperts = ".experts";
  const size_t at = name.find(".experts.");
  if (at == name.npos) {
    entries[name] = {shape, elements_of(shape), false};
    return;
  }
  Entry& entry = entries[name.substr(0, at + kExperts.size())];
  entry.experts = true;
  if (name.ends_with("_scales")) return;                     // of MXFP4, as gpt-oss is published:
  const int64_t packed = name.ends_with("_blocks") ? 2 : 1;  // two elements in a byte
  entry.elements = checked_add(entry.elements, checked_mul(packed, elements_of(shape)));
}

bool ends_with_any(std::string_view name, const auto& endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

// Buffers among the weights: of older transformers, DeepSeek-V3's routing bias, scales of fp8
// blocks.
constexpr std::array<std::string_view, 8> kBuffers{
    "rotary_emb.inv_freq", ".attn.masked_bias",       ".attention.masked_bias",
    "position_ids",        "rotary.inv_freq",         "embed_positions.weights",
    "_scale_inv",          ".e_score_correction_bias"};
// Copies of a tied parameter, and heads of pre-training that transformers drops when it loads.
constexpr std::array<std::string_view, 6> kTiedCopies{
    "lm_head.weight",      "lm_head.decoder.weight", "predictions.decoder.weight",
    "embed_tokens.weight", "embed_out.weight",       "decoder.bias"};
constexpr std::array<std::string_view, 3> kDropped{"pooler.dense.weight", "pooler.dense.bias",
                                                   "mask_predictions.dense.weight"};

// GPT-2's and GPT-NeoX's causal masks: [1, 1, n, n].
bool is_buffer(const StoredTensor& tensor) {
  if (ends_with_any(tensor.name, kBuffers)) return true;
  return tensor.shape.size() == 4 &&
         (tensor.name.ends_with(".attn.bias") || tensor.name.ends_with(".attention.bias"));
}

// DeepSeek-V3 stores its multi-token prediction as one layer more, which transformers leaves out.
bool is_prediction_layer(const ModelSpec& model, const StoredTensor& tensor) {
  return model.family == "deepseek_v3" &&
         tensor.name.starts_with(fmt::format("model.layers.{}.", model.layers));
}

std::string replaced(std::string name, std::string_view from, std::string_view to) {
  const size_t at = name.find(from);
  if (at != name.npos) name.replace(at, from.size(), to);
  return name;
}

// Names that transformers itself renames when it loads: BERT's norms, Mixtral's block.
std::string renamed(std::string name) {
  if (name.ends_with("LayerNorm.gamma")) return name.substr(0, name.size() - 5) + "weight";
  if (name.ends_with("LayerNorm.beta")) return name.substr(0, name.size() - 4) + "bias";
  return replaced(std::move(name), ".block_sparse_moe.", ".mlp.");
}

// A checkpoint may lack the base model's prefix ("wte.weight" of GPT-2) or have one more (the
// language model of a multimodal one).
struct Prefix {
  std::string drop, add;
};

std::string with_prefix(const Prefix& prefix, const std::string& name) {
  if (!name.starts_with(prefix.drop)) return name;
  return prefix.add + name.substr(prefix.drop.size());
}

std::vector<Prefix> prefixes(const Entries& wanted) {
  std::vector<Prefix> out = {{"", ""},
                             {"language_model.", ""},
                             {"model.language_model.", "model."},
                             {"language_model.model.", "model."}};
  if (!wanted.empty()) {
    // The first component that most parameters share.
    std::map<std::string, size_t> counts;
    for (const auto& [name, entry] : wanted) ++counts[name.substr(0, name.find('.') + 1)];
    const auto most =
        std::max_element(counts.begin(), counts.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    out.push_back({"", most->first});
  }
  return out;
}

Entries stored_entries(const ModelSpec& model, const WeightsFile& file, const Entries& wanted) {
  Entries best;
  size_t most = 0;
  bool first = true;
  for (const Prefix& prefix : prefixes(wanted)) {
    Entries entries;
    for (const StoredTensor& tensor : file.tensors) {
      if (is_buffer(tensor) || is_prediction_layer(model, tensor)) continue;
      std::string name = renamed(tensor.name);
      // A name that is right as it stands keeps its form: "lm_head.weight" beside "wte.weight".
      if (!wanted.contains(name)) name = with_prefix(prefix, name);
      add(entries, name, tensor.shape);
    }
    const size_t matches = static_cast<size_t>(std::count_if(
        entries.begin(), entries.end(), [&](const auto& e) { return wanted.contains(e.first); }));
    if (first || matches > most) {
      best = std::move(entries);
      most = matches;
    }
    first = false;
  }
  return best;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::string names_text(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < std::min(names.size(), kNamesShown); ++i)
    out += (i ? ", " : "") + printable(names[i]);
  return names.size() > kNamesShown ? out + ", …" : out;
}

struct Differences {
  std::vector<std::string> missing, extra, shapes;
};

Differences compare(const ModelSpec& model, const Entries& wanted, const Entries& stored,
                    bool shapes_known) {
  Differences out;
  for (const auto& [name, entry] : wanted) {
    const auto found = stored.find(name);
    if (found == stored.end()) {
      out.missing.push_back(name);
    } else if (shapes_known && !entry.experts && found->second.shape != entry.shape) {
      out.shapes.push_back(fmt::format("{} is {} and should be {}", name,
                                       shape_text(found->second.shape), shape_text(entry.shape)));
    } else if (shapes_known && entry.experts && found->second.elements != entry.elements) {
      out.shapes.push_back(fmt::format("{} hold {} elements and should hold {}", name,
                                       format_count(found->second.elements),
                                       format_count(entry.elements)));
    }
  }
  for (const auto& [name, entry] : stored) {
    if (wanted.contains(name) || ends_with_any(name, kDropped)) continue;
    if (name.find("cls.seq_relationship.") != name.npos) continue;  // BERT's next-sentence head
    if (model.tie_embeddings && ends_with_any(name, kTiedCopies)) continue;
    out.extra.push_back(name);
  }
  // The other parts of a multimodal model are named in the answer already.
  if (!model.not_modelled.empty())
    std::erase_if(out.extra, [](const std::string& name) {
      return name.find("vision") != name.npos || name.find("visual") != name.npos ||
             name.find("audio") != name.npos || name.find("projector") != name.npos;
    });
  return out;
}

}  // namespace

std::string check_weights(const ModelSpec& model, const std::string& path) {
  const WeightsFile file = read_weights(path);
  const std::vector<NamedParam> params = inventory(model);
  Entries wanted;
  for (const NamedParam& param : params) add(wanted, param.name, param.shape);
  const Entries stored = stored_entries(model, file, wanted);
  const Differences found = compare(model, wanted, stored, file.shapes_known);

  std::vector<std::string> problems;
  const auto note = [&](const std::vector<std::string>& names, std::string_view one,
                        std::string_view many) {
    if (names.empty()) return;
    problems.push_back(
        fmt::format("{} {} ({})", names.size(), names.size() == 1 ? one : many, names_text(names)));
  };
  note(found.missing, "tensor is missing", "tensors are missing");
  note(found.shapes, "has another shape", "have other shapes");
  note(found.extra, "is not the model's", "are not the model's");
  if (!problems.empty())
    throw Error(
        ErrorKind::bad_input, printable(path),
        fmt::format("does not hold {}: {}", printable(model.name), fmt::join(problems, "; ")),
        "is it the file of this model?");

  const bool experts =
      std::any_of(wanted.begin(), wanted.end(), [](const auto& e) { return e.second.experts; });
  std::string out =
      fmt::format("weights: {} tensors match {}", params.size(), printable(model.name));
  if (file.shapes_known)
    out += fmt::format(" in name and shape, {} parameters{}", format_count(count_parameters(model)),
                       experts ? " (the experts of a layer compared by their elements)" : "");
  else
    out += fmt::format(" in name; shapes are not known, for {} of the index {} not beside it",
                       names_text(file.missing_shards),
                       file.missing_shards.size() == 1 ? "is" : "are");
  return out + '\n';
}

}  // namespace memplan
