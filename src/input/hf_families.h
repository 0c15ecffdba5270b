// How each HuggingFace model_type spells its config: keys, defaults, classes. Data only.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "memplan/model.h"

namespace memplan {

/// As a default: the field follows from others (kv_heads = heads, head_dim = hidden / heads,
/// ffn = 4·hidden, expert_ffn = ffn, decoder_layers = layers).
constexpr int64_t kDerived = -1;

/// Defaults of the sizes; 0: the family has no such size.
struct HfSizes {
  int64_t vocab, hidden, ffn, layers, heads, kv_heads, head_dim, positions;
};

/// Keys of the sizes; empty: the family reads none and the size is its default.
struct HfKeys {
  std::string_view vocab = "vocab_size", hidden = "hidden_size", ffn = "intermediate_size",
                   layers = "num_hidden_layers", heads = "num_attention_heads",
                   kv_heads = "num_key_value_heads", head_dim = "head_dim",
                   positions = "max_position_embeddings";
};

/// A boolean; `key` empty: not a field, always `otherwise`.
struct HfFlag {
  std::string_view key = {};
  bool otherwise = false;
};

/// A dropout probability; `key` empty: none.
struct HfChance {
  std::string_view key = {};
  double otherwise = 0;
};

struct HfDropout {
  HfChance embedding = {}, hidden = {}, attention = {}, activation = {};
};

/// Which layers look at a window only.
enum class HfWindow : uint8_t {
  none,
  every_layer,     ///< where sliding_window is set
  qwen_tail,       ///< layers from max_window_layers on, if use_sliding_window
  qwen_even_head,  ///< even layers before max_window_layers, if use_sliding_window
  qwen_all,        ///< every layer, if use_sliding_window
  even_layers,
  pattern,  ///< all but each sliding_window_pattern-th
};

/// Which layers hold experts.
enum class HfExpertLayers : uint8_t {
  none,
  every_layer,
  qwen,      ///< each decoder_sparse_step-th that is not in mlp_only_layers
  deepseek,  ///< from first_k_dense_replace on
};

struct HfExperts {
  HfExpertLayers layers = HfExpertLayers::none;
  std::string_view key;  ///< of the number of experts
  int64_t experts = 0;
  int64_t per_token = 0;          ///< num_experts_per_tok; kDerived: no default, the file must say
  std::string_view ffn_key = {};  ///< empty: experts are as wide as the dense MLP
  int64_t ffn = kDerived;
  std::string_view shared_key = {};  ///< width of the shared expert, or their number (deepseek)
  int64_t shared = 0;
  bool null_shared = false;  ///< null stands for no shared expert
  int64_t first_dense = 0;   ///< first_k_dense_replace
};

/// Facts that go to ModelSpec::extra under their key.
struct HfExtra {
  enum Kind : uint8_t {
    flag,
    count,            ///< from 1 up; null: left out
    count_or_none,    ///< from 0 up
    signed_count,     ///< from -1 up
    is_set,           ///< 1 where the value is given and not null
    layer_norm,       ///< 1 where the text contains "layer_norm"
    group_limited,    ///< 1 where the text is "group_limited_greedy"
    attention_terms,  ///< bit 1: "c2p", bit 2: "p2c"; a list, or a text with '|'
    /// The share of a head that rotates, `otherwise` in hundredths; goes to "rotary_dim" as a
    /// width. rope_parameters.partial_rotary_factor comes first.
    rotary_share,
    llama3_rope,  ///< 1 where rope_scaling, or rope_parameters, is of rope_type "llama3"
  } kind;
  std::string_view key;
  int64_t otherwise = kDerived;  ///< kDerived: left out where the file has none
};

struct HfClass {
  std::string_view suffix;  ///< behind the stem: "ForCausalLM"
  ModelHead head;
  std::string_view extra = {};  ///< key of ModelSpec::extra that the class sets to 1
  bool encoder_only = false;    ///< leaves the decoder of an encoder-decoder out
};

struct HfFamily {
  std::string_view type;  ///< model_type
  std::string_view stem;  ///< of its classes: "Llama"
  std::span<const HfClass> classes;
  ModelHead head = ModelHead::causal_lm;  ///< where `architectures` says nothing
  HfSizes sizes;
  HfKeys keys = {};
  /// Other names of a key, as {other, key}: attribute_map of the config class.
  std::span<const std::pair<std::string_view, std::string_view>> aliases = {};
  bool heads_divide_hidden = false;  ///< required even where head_dim is given
  bool null_heads = true;            ///< null stands for the derived kv_heads
  bool null_head_dim = true;
  HfFlag tie = {"tie_word_embeddings", false};
  HfFlag attention_bias = {}, attention_out_bias = {}, mlp_bias = {}, head_bias = {};
  HfFlag qk_norm = {}, parallel_residual = {};
  HfFlag gated = {"", false};
  HfFlag falcon_kv = {};  ///< set: kv_heads counts only under new_decoder_architecture
  std::string_view activation_key = "hidden_act", activation = "silu";
  HfDropout dropout = {};
  HfWindow window = HfWindow::none;
  int64_t sliding_window = 0;  ///< default of the field; 0: null
  bool reads_layer_types = false;
  HfExperts experts = {};
  bool latent_attention = false;  ///< MLA's fields are read
  int64_t type_vocab = 0;         ///< default of type_vocab_size, where `reads_type_vocab`
  bool reads_type_vocab = false;
  bool encoder_decoder = false;  ///< num_decoder_layers is read
  std::span<const HfExtra> extra = {};
};

std::span<const HfFamily> hf_families();

/// Other names of a model_type whose language model is a family's, but whose defaults are not: the
/// file must give the sizes. {model_type, family}.
std::span<const std::pair<std::string_view, std::string_view>> hf_type_aliases();

/// model_type of a text_config that names none: {model_type of the whole, of the text part}.
std::span<const std::pair<std::string_view, std::string_view>> hf_text_types();

const HfFamily* find_hf_family(std::string_view type);

}  // namespace memplan
