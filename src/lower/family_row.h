// One row of the table of families: what tells an architecture from the others, by name and form.
//
// Names of layer parameters are relative to the layer, the others to the base module
// (`base`, absent where the model has no head), the head's are whole.
#pragma once

#include <string>
#include <string_view>

#include "memplan/model.h"
#include "ops/graph.h"

namespace memplan {

enum class Form : uint8_t {
  decoder,       ///< one stack of decoder layers; language-model head or classification score
  encoder,       ///< BERT: token types, a norm on the embeddings, pooler, masked-LM head
  deberta,       ///< BERT's with disentangled attention
  t5,            ///< encoder and decoder
  mcore_t5,      ///< Megatron-core's T5Model
  mcore_hybrid,  ///< Megatron-core's MambaModel: state-space, attention and MLP layers
};

enum class NormKind : uint8_t { rms, layer, layer_no_bias, layer_no_parameters };

/// Whether a linear layer has a bias.
enum class Bias : uint8_t { never, always, config };

/// How a sub-layer f and its norms join the residual stream.
enum class Residual : uint8_t {
  add,            ///< x + after(f(before(x))), where either norm may be missing
  add_then_norm,  ///< after(x + f(x)): the original transformer, BERT
  parallel,       ///< x + attention(before(x)) + mlp(before'(x))
};

/// A norm of queries and keys.
enum class QkNorm : uint8_t {
  none,
  per_head,       ///< one weight [d] for all heads
  per_head_list,  ///< a weight [d] for each head, without bias: NAME.norms.j
  whole,          ///< over all heads together: [nh·d]
  matrix,         ///< a weight for each head in one tensor: [nh, d]
};

enum class AttentionForm : uint8_t { separate, fused, latent };

/// Multi-head latent attention's modules: from the hidden width down to a bottleneck, its norm, and
/// up to the heads; `q` where queries have no bottleneck.
struct LatentRow {
  std::string_view q = "self_attn.q_proj";
  std::string_view q_down = "self_attn.q_a_proj", q_norm = "self_attn.q_a_layernorm",
                   q_up = "self_attn.q_b_proj";
  std::string_view kv_down = "self_attn.kv_a_proj_with_mqa", kv_norm = "self_attn.kv_a_layernorm",
                   kv_up = "self_attn.kv_b_proj";
  bool norms = true;
};

struct AttentionRow {
  AttentionForm form = AttentionForm::separate;
  std::string_view q = "self_attn.q_proj", k = "self_attn.k_proj", v = "self_attn.v_proj";
  std::string_view qkv = {};  ///< of the fused form
  std::string_view o = "self_attn.o_proj";
  Bias bias = Bias::config, out_bias = Bias::config;
  QkNorm qk_norm = QkNorm::none;
  bool qk_norm_by_config = false;  ///< only where ModelSpec::qk_norm
  std::string_view q_norm = "self_attn.q_norm", k_norm = "self_attn.k_norm";
  std::string_view sinks = {};  ///< one learned logit a head
  bool square_output = false;   ///< the output projection is [h, h] whatever the heads' width
  bool transposed = false;      ///< weights are [in, out]
  LatentRow latent = {};
  bool dropout_after = true;  ///< false: hidden dropout follows the MLP alone
};

struct MlpRow {
  std::string_view gate = "mlp.gate_proj";  ///< empty: act(up) instead of act(gate)·up
  std::string_view up = "mlp.up_proj", down = "mlp.down_proj";
  std::string_view gate_up = {};  ///< gate and up in one matrix
  Bias bias = Bias::never;
  bool transposed = false;
};

struct MoeRow {
  std::string_view router = "mlp.gate", experts = "mlp.experts";
  std::string_view gate_up = "gate_up_proj", down = "down_proj";  ///< of all experts in one
  bool gated = true;
  bool bias = false;             ///< of the router and of the experts
  bool expert_bias = false;      ///< of the experts alone
  bool transposed = false;       ///< experts' weights are [E, in, out]
  std::string_view shared = {};  ///< always-on expert: NAME. and what shared_mlp names
  MlpRow shared_mlp = {.gate = "gate_proj", .up = "up_proj", .down = "down_proj"};
  std::string_view shared_gate = {};  ///< its sigmoid gate
};

struct FamilyRow {
  std::string_view name;
  Form form = Form::decoder;

  std::string_view base = "model.";
  std::string_view layers = "layers";
  std::string_view embedding = "embed_tokens";
  std::string_view positions = {};  ///< table of learned positions; empty: none
  int64_t position_offset = 0;      ///< rows that the table has beyond ModelSpec::max_positions
  std::string_view embedding_norm = {};
  std::string_view final_norm = "norm";  ///< empty: none
  std::string_view head = "lm_head";
  bool head_bias = false;

  NormKind norm = NormKind::rms;
  Residual residual = Residual::add;
  std::string_view before_attention = "input_layernorm", after_attention = {};
  std::string_view before_mlp = "post_attention_layernorm", after_mlp = {};

  AttentionRow attention = {};
  MlpRow mlp = {};
  MoeRow moe = {};
  // What bitsandbytes leaves as it is:
  bool own_linear = false;          ///< linear layers are of a class of the family's own
  std::string_view kept_wide = {};  ///< end of the names of _keep_in_fp32_modules

  /// Puts what the config decides into a copy of the row.
  void (*adapt)(const ModelSpec&, FamilyRow&) = nullptr;
};

/// The row of this model, adapted to it. Throws as require_family.
FamilyRow family_row(const ModelSpec& model);

inline bool has_bias(Bias bias, bool config) {
  return bias == Bias::always || (bias == Bias::config && config);
}

/// The row's norm named NAME over the hidden width.
TensorId row_norm(Graph& g, const FamilyRow& row, std::string name, int64_t width, TensorId x);

/// The prefix of everything but the head: `base`, or nothing for a model without head.
std::string base_prefix(const FamilyRow& row, const ModelSpec& model);

}  // namespace memplan
