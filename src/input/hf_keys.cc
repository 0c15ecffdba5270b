// What one key of a config may hold, and keys that look misspelled.
#include "input/hf_keys.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/text.h"
#include "input/hf_families.h"

namespace memplan {
namespace {

// Every key this family reads, its aliases left out; some are empty.
std::vector<std::string_view> keys_read(const HfFamily& f) {
  std::vector<std::string_view> keys = {f.keys.vocab,
                                        f.keys.hidden,
                                        f.keys.ffn,
                                        f.keys.layers,
                                        f.keys.heads,
                                        f.keys.kv_heads,
                                        f.keys.head_dim,
                                        f.keys.positions,
                                        f.tie.key,
                                        f.attention_bias.key,
                                        f.attention_out_bias.key,
                                        f.mlp_bias.key,
                                        f.qk_norm.key,
                                        f.parallel_residual.key,
                                        f.falcon_kv.key,
                                        f.activation_key,
                                        f.dropout.embedding.key,
                                        f.dropout.hidden.key,
                                        f.dropout.attention.key,
                                        f.dropout.activation.key,
                                        f.experts.key,
                                        f.experts.ffn_key,
                                        f.experts.shared_key};
  const auto add = [&](std::initializer_list<std::string_view> more) {
    keys.insert(keys.end(), more);
  };
  if (f.window != HfWindow::none)
    add({"sliding_window", "use_sliding_window", "max_window_layers", "sliding_window_pattern",
         "layer_types"});
  if (f.experts.layers != HfExpertLayers::none)
    add({"num_experts_per_tok", "mlp_only_layers", "decoder_sparse_step", "first_k_dense_replace"});
  if (f.latent_attention)
    add({"q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"});
  if (f.reads_type_vocab) add({"type_vocab_size"});
  if (f.encoder_decoder) add({"num_decoder_layers"});
  for (const HfExtra& extra : f.extra) add({extra.key});
  return keys;
}

// Every key that some family reads, under all its names: none is a misspelling of another.
std::vector<std::string_view> keys_known() {
  std::vector<std::string_view> known = {"num_labels"};
  for (const HfFamily& family : hf_families()) {
    const std::vector<std::string_view> keys = keys_read(family);
    known.insert(known.end(), keys.begin(), keys.end());
    for (const auto& [other, key] : family.aliases) known.push_back(other);
  }
  return known;
}

bool has_key(const HfFamily& family, const JsonNode& config, std::string_view key) {
  if (config.find(key)) return true;
  return std::ranges::any_of(family.aliases, [&](const auto& alias) {
    return alias.second == key && config.find(alias.first).has_value();
  });
}

// DebertaV2Config: a list, or a text split at '|'.
int64_t attention_terms(const JsonNode& node) {
  std::vector<std::string> terms;
  if (node.is_text()) {
    std::string text = node.text();
    std::ranges::replace(text, '|', ' ');
    for (const std::string_view term : split(text, ' '))
      if (!term.empty()) terms.emplace_back(term);
  } else {
    terms = node.texts();
  }
  int64_t bits = 0;
  for (const std::string& term : terms) {
    if (term != "c2p" && term != "p2c")
      throw node.error("unknown attention term '" + printable(term) + "'", "valid: c2p, p2c");
    bits |= term == "c2p" ? 1 : 2;
  }
  return bits;
}

}  // namespace

int64_t read_hf_extra(const HfExtra& row, const JsonNode& node) {
  switch (row.kind) {
    case HfExtra::flag:
      return node.boolean() ? 1 : 0;
    case HfExtra::count:
      return node.count();
    case HfExtra::count_or_none:
      return node.count(0);
    case HfExtra::signed_count:
      return node.count(-1);
    case HfExtra::is_set:
      if (!node.is_null()) node.number();
      return node.is_null() ? 0 : 1;
    case HfExtra::layer_norm:
      return node.text().find("layer_norm") != std::string::npos;
    case HfExtra::group_limited:
      return node.text() == "group_limited_greedy";
    case HfExtra::attention_terms:
      return attention_terms(node);
    case HfExtra::rotary_share:  // needs the head's width
    case HfExtra::llama3_rope:   // lies within another key
      break;
  }
  return 0;
}

void refuse_misspelled_keys(const HfFamily& family, const JsonNode& config) {
  if (config.keys().size() > kMaxJsonKeysForHints) return;
  std::vector<std::string_view> absent;
  for (std::string_view key : keys_read(family))
    if (!key.empty() && !has_key(family, config, key)) absent.push_back(key);
  const std::vector<std::string_view> known = keys_known();
  for (std::string_view key : config.keys()) {
    // transformers saves private fields under a leading underscore: _sliding_window_pattern.
    if (key.starts_with('_') || std::ranges::find(known, key) != known.end()) continue;
    const std::string near = nearest_name(key, absent);
    const auto longer = static_cast<int64_t>(near.size()) - static_cast<int64_t>(key.size());
    if (near.empty() || longer > 2 || longer < -2) continue;
    throw config.missing(key).error("unknown key, and '" + near + "' is absent",
                                    "did you mean '" + near + "'?");
  }
}

}  // namespace memplan
