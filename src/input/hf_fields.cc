// The fields of one family's config: one pass over its row of hf_families.cc.
#include <algorithm>
#include <array>

#include "base/text.h"
#include "input/hf_config.h"
#include "input/hf_families.h"
#include "input/hf_keys.h"
#include "memplan/units.h"

namespace memplan {
namespace {

constexpr int64_t kMaxLayers = 1 << 14;   // stored, and lowered, one by one where they alternate
constexpr int64_t kMaxRepeats = 1 << 16;  // heads and experts may be named one by one

// ACT2FN of transformers 5.12.1, activations.py.
// clang-format off
constexpr auto kActivations = std::to_array<std::string_view>({
    "gelu", "gelu_10", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh",
    "gelu_python_tanh", "gelu_accurate", "hardswish", "laplace", "leaky_relu", "linear", "mish",
    "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh",
    "prelu", "xielu"});
// clang-format on

// ALLOWED_LAYER_TYPES of configuration_utils.py; memplan has the first two.
constexpr auto kLayerTypes = std::to_array<std::string_view>(
    {"full_attention", "sliding_attention", "chunked_attention", "compressed_sparse_attention",
     "heavily_compressed_attention", "minimax_m3_sparse", "linear_attention", "conv", "mamba",
     "attention", "sparse", "dense", "hybrid", "moe", "deepseek_sparse_attention"});

class Reader {
 public:
  Reader(const HfFamily& family, const JsonNode& config, bool defaults_known)
      : f_(family), config_(config), defaults_known_(defaults_known) {}

  ModelSpec read() {
    m_.family = f_.type;
    refuse_misspelled_keys(f_, config_);
    read_sizes();
    read_heads();
    read_flags();
    read_activation();
    read_dropout();
    if (f_.latent_attention) read_latent_attention();
    if (f_.experts.layers != HfExpertLayers::none) read_experts();
    if (f_.window != HfWindow::none) read_window();
    for (const HfExtra& extra : f_.extra) read_extra(extra);
    if (m_.extra_or("conv_kernel_size", 0) > 0)
      require_multiple(f_.keys.hidden, m_.hidden, "conv_groups", m_.extra_or("conv_groups", 1));
    read_labels();
    return std::move(m_);
  }

 private:
  // The value of `key`, under whichever of its names the file uses. Nothing where it is absent.
  std::optional<JsonNode> find(std::string_view key) const {
    if (key.empty()) return {};
    auto found = config_.find(key);
    for (const auto& [other, real] : f_.aliases) {
      if (real != key) continue;
      const auto same = config_.find(other);
      if (found && same && !found->same_value(*same))
        throw same->error("contradicts '" + std::string(key) + "', which is the same field",
                          "keep one of the two");
      if (!found) found = same;
    }
    return found;
  }

  // A count, or its default; `derived` stands for kDerived and for null.
  int64_t count(std::string_view key, int64_t otherwise, int64_t derived, bool null_ok = false,
                int64_t most = kMaxCount, int64_t least = 1) {
    const auto found = find(key);
    if (!found && otherwise != kDerived && !key.empty())
      m_.source += (m_.source.empty() ? "" : ", ") + std::string(key);
    if (!found) return otherwise == kDerived ? derived : otherwise;
    if (found->is_null()) {
      if (null_ok || otherwise == kDerived) return derived;
      throw found->error("is null, but " + std::string(f_.type) + " needs a whole number");
    }
    return found->count(least, most);
  }

  // A size without which there is no model.
  int64_t size(std::string_view key, int64_t otherwise, int64_t derived = 0,
               int64_t most = kMaxCount) {
    if (!defaults_known_ && !key.empty() && otherwise != kDerived && !find(key))
      throw config_.missing(key).error(
          "is absent, and memplan knows no default of this model_type");
    return count(key, otherwise, derived, false, most);
  }

  bool flag(const HfFlag& row) {
    const auto found = find(row.key);
    return found ? found->boolean() : row.otherwise;
  }

  double chance(const HfChance& row) {
    const auto found = find(row.key);
    return found ? found->probability() : row.otherwise;
  }

  // "hidden_size 10", and where the value is the family's default, that it is.
  std::string shown(std::string_view key, int64_t value) const {
    return std::string(key) + " " + std::to_string(value) +
           (find(key) ? "" : " (the default of " + std::string(f_.type) + ")");
  }

  void require_multiple(std::string_view key, int64_t value, std::string_view of, int64_t divisor) {
    if (value % divisor == 0) return;
    throw config_.missing(key).error(shown(key, value) + " is not a multiple of " +
                                     shown(of, divisor));
  }

  void read_sizes() {
    const HfKeys& key = f_.keys;
    m_.vocab = size(key.vocab, f_.sizes.vocab);
    m_.hidden = size(key.hidden, f_.sizes.hidden);
    m_.layers = size(key.layers, f_.sizes.layers, 0, kMaxLayers);
    m_.heads = size(key.heads, f_.sizes.heads, 0, kMaxRepeats);
    m_.ffn = size(key.ffn, f_.sizes.ffn, checked_mul(4, m_.hidden));
    m_.max_positions = count(key.positions, f_.sizes.positions, 0);
    if (f_.reads_type_vocab)
      m_.type_vocab = count("type_vocab_size", f_.type_vocab, 0, false, kMaxCount, 0);
    if (f_.encoder_decoder) {
      // T5Config fills this in before it looks at num_layers' other names.
      const auto layers = config_.find(key.layers);
      m_.decoder_layers = count("num_decoder_layers", kDerived,
                                layers ? m_.layers : f_.sizes.layers, true, kMaxLayers);
    }
  }

  void read_heads() {
    const HfKeys& key = f_.keys;
    m_.kv_heads = count(key.kv_heads, f_.sizes.kv_heads, m_.heads, f_.null_heads);
    if (!f_.falcon_kv.key
             .empty()) {  // FalconAttention: num_kv_heads counts for the new decoder only
      const bool multi_query = flag(f_.falcon_kv);
      if (!flag({"new_decoder_architecture", false})) m_.kv_heads = multi_query ? 1 : m_.heads;
    }
    constexpr int64_t kAbsent = 0;
    m_.head_dim = count(key.head_dim, f_.sizes.head_dim, kAbsent, f_.null_head_dim);
    if (f_.heads_divide_hidden || m_.head_dim == kAbsent)
      require_multiple(key.hidden, m_.hidden, key.heads, m_.heads);
    if (m_.head_dim == kAbsent) m_.head_dim = m_.hidden / m_.heads;
    if (f_.latent_attention)
      m_.kv_heads = m_.heads;  // every head has its own key and value; the field is not used
    else
      require_multiple(key.heads, m_.heads, key.kv_heads, m_.kv_heads);
  }

  void read_flags() {
    m_.tie_embeddings = flag(f_.tie);
    m_.attention_bias = flag(f_.attention_bias);
    m_.attention_out_bias = flag(f_.attention_out_bias);
    m_.mlp_bias = flag(f_.mlp_bias);
    m_.head_bias = flag(f_.head_bias);
    m_.qk_norm = flag(f_.qk_norm);
    m_.parallel_residual = flag(f_.parallel_residual);
    m_.gated_mlp = flag(f_.gated);
  }

  void read_activation() {
    m_.activation = f_.activation;
    const auto found = find(f_.activation_key);
    if (!found) return;
    // Early Gemma files say hidden_activation null beside hidden_act.
    if (found->is_null() && f_.activation_key == "hidden_activation") return;
    std::string name = found->text();
    if (f_.encoder_decoder) {  // feed_forward_proj: "relu", "gated-silu"; "gated-gelu" is gelu_new
      m_.gated_mlp = name.starts_with("gated-");
      if (m_.gated_mlp) name = name == "gated-gelu" ? "gelu_new" : name.substr(6);
    }
    if (std::ranges::find(kActivations, name) == kActivations.end())
      throw found->error("unknown activation '" + printable(name) + "'",
                         name_hint(name, {kActivations.begin(), kActivations.end()}));
    m_.activation = name;
  }

  void read_dropout() {
    m_.dropout = {.embedding = chance(f_.dropout.embedding),
                  .hidden = chance(f_.dropout.hidden),
                  .attention = chance(f_.dropout.attention),
                  .activation = chance(f_.dropout.activation)};
  }

  // Defaults of DeepseekV2Config and DeepseekV3Config, which agree.
  void read_latent_attention() {
    m_.mla.q_lora_rank = count("q_lora_rank", 1536, 0, true);
    m_.mla.kv_lora_rank = count("kv_lora_rank", 512, 0);
    m_.mla.qk_nope_head_dim = count("qk_nope_head_dim", 128, 0);
    m_.mla.qk_rope_head_dim = count("qk_rope_head_dim", 64, 0);
    m_.mla.v_head_dim = count("v_head_dim", 128, 0);
    m_.head_dim = m_.mla.qk_nope_head_dim + m_.mla.qk_rope_head_dim;
  }

  void read_experts() {
    const HfExperts& row = f_.experts;
    MoeSpec& moe = m_.moe;
    const bool may_be_dense = row.layers == HfExpertLayers::qwen;
    moe.experts = count(row.key, row.experts, 0, false, kMaxRepeats, may_be_dense ? 0 : 1);
    moe.experts_per_token = count("num_experts_per_tok", row.per_token, 0);
    if (moe.experts == 0) {
      moe = {};
      return;
    }
    if (moe.experts_per_token == 0)
      throw config_.missing("num_experts_per_tok")
          .error("is absent, and " + std::string(f_.type) + " has no default for it");
    if (moe.experts_per_token > moe.experts)
      throw config_.missing("num_experts_per_tok")
          .error(shown("num_experts_per_tok", moe.experts_per_token) + " is more than " +
                 shown(row.key, moe.experts));
    moe.expert_ffn = count(row.ffn_key, row.ffn, m_.ffn);
    moe.layer_is_moe.assign(static_cast<size_t>(m_.layers), true);
    if (row.layers == HfExpertLayers::deepseek) {
      const int64_t shared = count(row.shared_key, row.shared, 0, row.null_shared, kMaxCount, 0);
      moe.shared_experts_ffn = checked_mul(shared, moe.expert_ffn);
      const int64_t dense = count("first_k_dense_replace", row.first_dense, 0, false, kMaxCount, 0);
      std::fill_n(moe.layer_is_moe.begin(), std::min(dense, m_.layers), false);
    }
    if (row.layers == HfExpertLayers::qwen) {
      moe.shared_experts_ffn = count(row.shared_key, row.shared, 0);
      moe.shared_expert_gate = moe.shared_experts_ffn > 0;
      const int64_t step = count("decoder_sparse_step", 1, 0);
      for (size_t i = 0; i < moe.layer_is_moe.size(); ++i)
        moe.layer_is_moe[i] = (static_cast<int64_t>(i) + 1) % step == 0;
      if (const auto dense = find("mlp_only_layers"); dense && !dense->is_null())
        for (int64_t i : dense->counts(0, kMaxCount))
          if (i < m_.layers) moe.layer_is_moe[static_cast<size_t>(i)] = false;
    }
  }

  void read_window() {
    m_.sliding_window = count("sliding_window", f_.sliding_window, 0, true, kMaxCount, 0);
    const bool optional = f_.window == HfWindow::qwen_tail || f_.window == HfWindow::qwen_all ||
                          f_.window == HfWindow::qwen_even_head;
    if (optional && !flag({"use_sliding_window", false})) m_.sliding_window = 0;
    const auto types = f_.reads_layer_types ? find("layer_types") : std::nullopt;
    std::vector<bool> slides =
        types && !types->is_null() ? listed_layers(*types) : layers_by_rule();
    if (std::ranges::find(slides, true) == slides.end()) slides.clear();
    if (slides.empty()) m_.sliding_window = 0;
    if (!slides.empty() && m_.sliding_window == 0)
      throw config_.missing("layer_types")
          .error("has sliding_attention layers, but no sliding window is set",
                 optional ? "set sliding_window and use_sliding_window" : "set sliding_window");
    m_.layer_is_sliding = std::move(slides);
  }

  std::vector<bool> listed_layers(const JsonNode& types) {
    const std::vector<JsonNode> items = types.items();
    if (items.size() != static_cast<size_t>(m_.layers))
      throw types.error("has " + std::to_string(items.size()) + " entries for " +
                        shown(f_.keys.layers, m_.layers));
    std::vector<bool> slides;
    for (const JsonNode& item : items) {
      const std::string type = item.one_of({kLayerTypes.begin(), kLayerTypes.end()});
      if (type != kLayerTypes[0] && type != kLayerTypes[1])
        throw item.error("layers of type '" + type + "' are not modelled",
                         "full_attention and sliding_attention are", ErrorKind::not_modelled);
      slides.push_back(type == kLayerTypes[1]);
    }
    return slides;
  }

  std::vector<bool> layers_by_rule() {
    if (m_.sliding_window == 0) return {};
    // Gemma3TextConfig: sliding_window_pattern 6; Qwen2Config and Qwen2MoeConfig:
    // max_window_layers 28.
    const int64_t pattern =
        f_.window == HfWindow::pattern ? count("sliding_window_pattern", 6, 0) : 1;
    const bool reads_max =
        f_.window == HfWindow::qwen_tail || f_.window == HfWindow::qwen_even_head;
    const int64_t edge = reads_max ? count("max_window_layers", 28, 0, false, kMaxCount, 0) : 0;
    std::vector<bool> slides;
    for (int64_t i = 0; i < m_.layers; ++i) slides.push_back(slides_by_rule(i, pattern, edge));
    return slides;
  }

  bool slides_by_rule(int64_t layer, int64_t pattern, int64_t edge) const {
    switch (f_.window) {
      case HfWindow::none:
        return false;
      case HfWindow::every_layer:
      case HfWindow::qwen_all:
        return true;
      case HfWindow::qwen_tail:
        return layer >= edge;
      case HfWindow::qwen_even_head:
        return layer % 2 == 0 && layer < edge;
      case HfWindow::even_layers:
        return layer % 2 == 0;
      case HfWindow::pattern:
        return (layer + 1) % pattern != 0;
    }
    return false;
  }

  // int(head_dim · factor), the factor from rope_parameters, the family's own key, or its default
  // (modeling_rope_utils.py, standardize_rope_params).
  int64_t rotary_width(const HfExtra& row) const {
    double share = static_cast<double>(row.otherwise) / 100;
    if (const auto own = find(row.key); own && !own->is_null()) share = own->probability();
    if (const auto rope = find("rope_parameters"); rope && !rope->is_null()) {
      const auto factor = rope->find("partial_rotary_factor");
      if (factor && !factor->is_null()) share = factor->probability();
    }
    return static_cast<int64_t>(static_cast<double>(m_.head_dim) * share);
  }

  // "type" in files of before transformers 4.45
  bool has_llama3_rope() const {
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
      const auto rope = find(key);
      if (!rope || rope->is_null()) continue;
      for (const char* name : {"rope_type", "type"})
        if (const auto type = rope->find(name); type && type->is_text() && type->text() == "llama3")
          return true;
    }
    return false;
  }

  void read_extra(const HfExtra& row) {
    if (row.kind == HfExtra::llama3_rope) {
      if (has_llama3_rope()) m_.extra.emplace_back(row.key, 1);
      return;
    }
    if (row.kind == HfExtra::rotary_share) {
      m_.extra.emplace_back("rotary_dim", rotary_width(row));
      return;
    }
    const auto found = find(row.key);
    int64_t value = row.otherwise;
    if (found && (row.kind == HfExtra::is_set || !found->is_null()))
      value = read_hf_extra(row, *found);
    if (value != kDerived || row.kind == HfExtra::signed_count)
      m_.extra.emplace_back(row.key, value);
  }

  // PreTrainedConfig: the size of id2label, else num_labels, else 2.
  void read_labels() {
    m_.labels = 2;
    if (const auto names = config_.find("id2label"); names && !names->is_null()) {
      m_.labels = static_cast<int64_t>(names->require_object().keys().size());
      if (m_.labels == 0) throw names->error("names no label");
    } else if (const auto number = config_.find("num_labels"); number && !number->is_null()) {
      m_.labels = number->count();
    }
  }

  const HfFamily& f_;
  JsonNode config_;
  bool defaults_known_;
  ModelSpec m_;
};

}  // namespace

ModelSpec read_hf_fields(const HfFamily& family, const JsonNode& config, bool defaults_known) {
  return Reader(family, config, defaults_known).read();
}

}  // namespace memplan
