// ModelSpec: what memplan knows of a model, whatever file it came from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace memplan {

/// What stands on top of the trunk; decided by `architectures` of a HuggingFace config.
enum class ModelHead : uint8_t {
  none,                     ///< LlamaModel
  causal_lm,                ///< LlamaForCausalLM
  masked_lm,                ///< BertForMaskedLM
  sequence_classification,  ///< RobertaForSequenceClassification
  seq2seq_lm,               ///< T5ForConditionalGeneration
};

/// Whose modules a model is made of: the names of its parameters, and its forward.
enum class Implementation : uint8_t { transformers, litgpt, torchtune, megatron, torchtitan };

/// Mixture of experts. `experts == 0`: the model is dense.
struct MoeSpec {
  int64_t experts = 0;
  int64_t experts_per_token = 0;
  int64_t expert_ffn = 0;          ///< width of one expert
  int64_t shared_experts_ffn = 0;  ///< width of the always-on expert(s) together; 0: none
  bool shared_expert_gate = false;
  std::vector<bool> layer_is_moe;  ///< one entry per layer
};

/// Multi-head latent attention (DeepSeek-V2, section 2.1). `kv_lora_rank == 0`: not used.
struct MlaSpec {
  int64_t q_lora_rank = 0;  ///< 0: queries are projected directly
  int64_t kv_lora_rank = 0;
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;
};

/// Mamba-2's state-space mixers (arXiv 2405.21060). `heads == 0`: none.
struct SsmSpec {
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t groups = 0;  ///< of heads that share B and C
  int64_t state = 0;   ///< size of a head's state
  int64_t width() const { return heads * head_dim; }
  /// Channels of the convolution: x, B and C.
  int64_t channels() const { return width() + 2 * groups * state; }
  /// Outputs of the input projection: the gate z, x, B, C and the step dt.
  int64_t projected() const { return width() + channels() + heads; }
};

/// Dropout probabilities as the config states them.
struct DropoutSpec {
  double embedding = 0, hidden = 0, attention = 0, activation = 0;
};

/// All sizes are counts of elements and positive unless said otherwise.
struct ModelSpec {
  std::string name;    ///< as the user called it: preset or path
  std::string source;  ///< where its values come from, for --explain
  std::string family;  ///< model_type: a row of lower/families
  ModelHead head = ModelHead::causal_lm;
  Implementation implementation = Implementation::transformers;

  /// Set for a bare size ("7.5B"): only this number of parameters is known, nothing below is.
  std::optional<int64_t> bare_parameters;

  int64_t hidden = 0;          ///< h
  int64_t layers = 0;          ///< L (of the encoder, for an encoder-decoder)
  int64_t decoder_layers = 0;  ///< of the decoder of an encoder-decoder; 0 otherwise
  int64_t heads = 0;           ///< nh
  int64_t kv_heads = 0;        ///< nkv
  int64_t head_dim = 0;        ///< d; nh·d need not be h
  int64_t ffn = 0;             ///< f, one projection
  int64_t vocab = 0;           ///< V
  int64_t max_positions = 0;   ///< longest sequence the model was made for; 0: no limit known
  int64_t type_vocab = 0;      ///< token types (BERT); 0: none
  int64_t labels = 0;          ///< classes of a sequence-classification head

  bool tie_embeddings = false;
  std::string activation;       ///< "silu", "gelu_new", "relu", …
  bool gated_mlp = false;       ///< act(gate)·up instead of act(up)
  bool attention_bias = false;  ///< of q, k and v
  bool attention_out_bias = false;
  bool mlp_bias = false;
  bool head_bias = false;
  bool qk_norm = false;
  bool parallel_residual = false;
  std::vector<bool> layer_is_sliding;  ///< empty: no sliding-window layer
  int64_t sliding_window = 0;

  DropoutSpec dropout;
  MoeSpec moe;
  MlaSpec mla;
  SsmSpec ssm;
  /// Layers of a hybrid model by kind, one letter each as Megatron-core writes them: M state-space,
  /// * attention, - MLP, E experts. Empty: every layer is attention and MLP.
  std::string hybrid_pattern;

  /// Facts that one family alone has, by the config's own key ("word_embed_proj_dim",
  /// "new_decoder_architecture", "pos_att_type"…), booleans as 0/1. Only that family's row reads
  /// it.
  std::vector<std::pair<std::string, int64_t>> extra;
  int64_t extra_or(std::string_view key, int64_t otherwise) const;

  std::vector<std::string> not_modelled;  ///< parts of the file left out, by name
};

}  // namespace memplan
