// What the forward functions of all families share: parameters by name, linear layers with their
// adapters, norms, rotary embedding, masks and the attention interface of transformers 5.12.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lower/families.h"
#include "lower/family_row.h"
#include "memplan/job.h"
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/aten/session.h"

namespace memplan::hf {

using aten::Shape;
using aten::Tensor;

/// The parameters of one block as tensors, by the names its graph gives them.
class Params {
 public:
  /// `copies`: equal blocks this one stands for.
  Params(aten::Session& session, const Graph& graph, const Job& job, int64_t copies);

  /// Empty where the block has no such parameter. Where PEFT trains a copy of it, the copy.
  Tensor find(std::string_view name) const;
  /// NAME + "." + SUFFIX.
  Tensor find(std::string_view module, std::string_view suffix) const;
  /// Throws Error{not_modelled}: the forward and the parameters' names disagree.
  Tensor get(std::string_view module, std::string_view suffix) const;

  const Graph& graph() const { return *graph_; }
  aten::Leaf& leaf(size_t i) const { return *leaves_[i]; }
  size_t size() const { return leaves_.size(); }

  /// The adapted module of this name, which forward has now reached; null where PEFT is not on it.
  const PeftModule* adapted(std::string_view name) const;
  /// An adapted module that no forward has reached; null if there is none.
  const PeftModule* unreached() const;

  /// A tensor of Graph::buffers; empty where there is none.
  Tensor buffer(std::string_view name) const;
  int64_t buffer_bytes(bool registered) const;  ///< of all copies

 private:
  Tensor find_exactly(std::string_view module, std::string_view between,
                      std::string_view suffix) const;

  const Graph* graph_;
  std::vector<aten::Leaf*> leaves_, buffers_;
  mutable std::vector<bool> reached_;  ///< of Graph::adapted
};

/// Hooks on every module's call, as a DeepSpeed engine hangs them.
class ModuleHooks {
 public:
  virtual ~ModuleHooks() = default;
  /// Before the forward of module `name` of `block`, which owns the parameters `own` (or empty
  /// tensors). Returns `x`, its argument without a name, as the forward then sees it; empty: it has
  /// none.
  virtual Tensor enter(const Params& block, std::string_view name, std::span<const Tensor> own,
                       const Tensor& x) = 0;
  /// After it: returns `y` as the caller sees it.
  virtual Tensor leave(const Params& block, std::string_view name, const Tensor& y) = 0;
};

/// What one forward pass shares: what model.forward's local variables hold.
struct Forward {
  aten::Session& session;
  const Job& job;
  const ModelSpec& model;
  FamilyRow row;
  int64_t batch = 1, sequence = 1;
  Tensor ids = {}, padding = {};        ///< input_ids and attention_mask [b, s], int64
  const Params* shared_peft = nullptr;  ///< of what all adapted modules share
  /// Of the GPU, for tensors: what the ledger may reach in the first step, in which no optimizer
  /// state and no earlier gradient is there yet, though it counts them. Empty: not on a GPU.
  std::optional<int64_t> capacity = {};
  Tensor labels = {};  ///< a classifier's [b], a program's own [b, s], int64; others' are the ids
  // The local variables of model.forward.
  Tensor inputs_embeds = {}, position_ids = {};
  Tensor causal_mask = {}, sliding_mask = {};  ///< [b, 1, s, s], or empty where none is needed
  Tensor cos = {}, sin = {};              ///< [1, s, d]; of tables, [1, 1, p, d] of all p positions
  Tensor local_cos = {}, local_sin = {};  ///< of sliding layers, where they differ (Gemma 3)
  std::vector<Tensor> shared = {};        ///< what a family passes from layer to layer by itself
  std::vector<Tensor> returned = {};      ///< by the layer before, beside its hidden_states
  std::vector<Tensor> outputs = {};       ///< what the model's output holds beside the logits
  std::vector<Tensor> locals = {};        ///< what model.forward holds and gives to no layer
  std::vector<Tensor> loop = {};          ///< variables of the training loop that outlive backward
  // What PeftModel.forward holds while the model's runs.
  Tensor prompt_tokens = {};                ///< [b, n]: virtual tokens of prompt learning
  std::vector<Tensor> past = {};            ///< keys and values of the prefix, by layer
  std::vector<Tensor> wrapper_locals = {};  ///< the rest
  int64_t layer = 0;                        ///< index of the layer that runs
  ModuleHooks* modules = nullptr;           ///< around those that the family calls by `called`

  /// Keys that a query sees: those of its own sequence and of a prefix.
  int64_t keys() const;

  /// What a checkpointed layer's arguments hold.
  Forward arguments() const;

  /// model.forward returns.
  void release_locals();
  /// PeftModel.forward returns.
  void release_wrapper();
};

/// forward(x) of the module `name`, with hooks around it where there are some.
template <typename Body>
Tensor called(const Forward& f, const Params& p, std::string_view name,
              std::initializer_list<Tensor> own, const Tensor& x, const Body& forward) {
  if (f.modules == nullptr) return forward(x);
  const Tensor given = f.modules->enter(p, name, std::span(own.begin(), own.size()), x);
  const Tensor result = forward(given);
  return f.modules->leave(p, name, result);
}

/// nn.Linear or Conv1D named `name`, with LoRA where it is a target.
/// `bias_apart`: by an operator of its own.
Tensor linear(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
              bool bias_apart = false);

/// nn.Embedding named `name`, the same.
Tensor adapted_embedding(const Forward& f, const Params& p, std::string_view name,
                         const Tensor& ids);

/// LlamaRMSNorm: fp32 inside, the weight applied in the input's dtype; with `weigh_in_f32`, before
/// the result is narrowed (Olmo2RMSNorm).
Tensor rms_norm(const Tensor& x, const Tensor& weight, bool weigh_in_f32 = false);
/// rms_norm as the release has it, or by the kernels that the job names.
Tensor llama_norm(const Forward& f, const Tensor& x, const Tensor& weight);
/// The norm of the family's row named `name`.
Tensor row_norm(const Forward& f, const Params& p, std::string_view name, const Tensor& x);

/// How much of a head rotary embedding turns: partial_rotary_factor or rotary_dim.
int64_t rotary_width(const ModelSpec& model);
/// cos and sin of LlamaRotaryEmbedding in `dtype` (empty: the activations'), [1, s, width].
void rotary_embedding(const Forward& f, int64_t width, Tensor& cos, Tensor& sin,
                      std::optional<DType> dtype = {});
/// model.forward's, where the model computes them.
void prepare_rotary(Forward& f, const Params& p);
/// What a layer turns q and k by: the model's, or its own in v's dtype.
struct Rotary {
  Tensor cos, sin;
};
Rotary layer_rotary(const Forward& f, const Tensor& v);
/// How many positions tables hold.
int64_t rotary_positions(const Job& job);
/// cos[position_ids] and sin[position_ids] of tables [1, 1, s, d]: [1, s, d].
Rotary rotary_rows(const Forward& f, const Rotary& tables);
/// apply_rotary_pos_emb: q and k are replaced.
void apply_rotary(const Tensor& cos, const Tensor& sin, Tensor& q, Tensor& k);
/// (x · cos) + (rotate_half(x) · sin), cos and sin already broadcastable.
Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin);

/// Position ids and the masks that this attention implementation and this model need
/// (transformers/masking_utils.py, create_causal_mask, create_sliding_window_causal_mask).
void prepare_positions(Forward& f);
void prepare_masks(Forward& f);
/// The same where the model wants a mask even if sdpa's is_causal would do.
void prepare_forced_masks(Forward& f);
/// The same for models whose only attention beside flash is eager.
void prepare_eager_masks(Forward& f);

struct AttentionCall {
  Tensor mask;
  double dropout = 0;
  bool causal = true;
  double soft_cap = 0;
};
/// ALL_ATTENTION_FUNCTIONS: q, k, v [b, heads, s, d] -> [b, s, heads, d].
Tensor attend(const Forward& f, const Tensor& q, const Tensor& k, const Tensor& v,
              const AttentionCall& call);
/// repeat_kv: [b, nkv, s, d] -> [b, nkv·groups, s, d].
Tensor repeat_kv(const Tensor& x, int64_t groups);

/// x[..., start : start + length]; the whole is an alias.
Tensor columns(const Tensor& x, int64_t start, int64_t length);
/// nn.functional.softmax(x, dim=-1), which autocast runs in fp32 on CUDA alone
/// (aten/src/ATen/autocast_mode.h).
Tensor autocast_softmax(const Tensor& x);

/// [b, s, heads·d] -> [b, heads, s, d].
Tensor split_heads(const Tensor& x, int64_t head_dim);
/// [b, s, heads, d] -> [b, s, heads·d].
Tensor join_heads(const Tensor& x);

/// One family's forward.
struct Family {
  std::string_view name;
  /// hidden_states -> hidden_states of one layer.
  Tensor (*layer)(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden);
  /// input ids -> the first layer's input. Fills what layers share.
  Tensor (*embed)(Forward& f, const Params& p);
  /// The last layer's output -> what the head reads (the final norm).
  Tensor (*finish)(Forward& f, const Params& head, const Tensor& hidden);
  /// hidden -> loss. Leaves in `logits` what the model's outputs hold.
  Tensor (*loss)(Forward& f, const Params& head, const Params& embedding, const Tensor& hidden,
                 Tensor& logits);
  /// Bytes of the model's buffers (model.buffers()), persistent or not.
  int64_t (*buffers)(const Job& job);
  /// From one stack to the next: the last hidden_states of the first -> the first of the second.
  Tensor (*bridge)(Forward& f, const Params& p, const Params& embedding,
                   const Tensor& hidden) = nullptr;
  /// What model.forward does to a layer's output, outside of the layer and of its checkpoint.
  Tensor (*after_layer)(Forward& f, const Params& embedding, const Tensor& hidden) = nullptr;
  /// What model.forward returns, of the last layer's output: a program that has it computes its
  /// loss of that (`program_loss`), in place of the hidden states.
  Tensor (*output)(Forward& f, const Params& head, Tensor hidden) = nullptr;
  /// In the place of `loss`, by a program that lets go of the hidden states on the way.
  Tensor (*program_loss)(Forward& f, const Params& head, const Params& embedding, Tensor hidden,
                         Tensor& logits) = nullptr;
  /// What it can compute beside cross_entropy, which stands for the program's own loss.
  std::span<const LossKind> program_losses = {};
  /// Its functions name every module that they call (`called`).
  bool names_modules = false;
};

/// Throws Error{not_modelled} for a family whose forward is not written.
const Family& family(const ModelSpec& model);

/// embed_tokens(input_ids), behind the virtual tokens of prompt learning.
Tensor embed_tokens(Forward& f, const Params& p);
/// LlamaAttention, with norms of the heads where the row has them.
Tensor decoder_attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x,
                         double soft_cap = 0);
/// o_proj(attention of q, k, v [b, heads, s, d]), under the layer's mask.
Tensor attention_output(const Forward& f, const Params& p, const LayerKind& kind, const Tensor& q,
                        const Tensor& k, const Tensor& v, double soft_cap = 0);
/// down_proj(act(gate_proj(x)) · up_proj(x)) by the names of `row`.
Tensor gated_mlp(const Forward& f, const Params& p, const MlpRow& row, const Tensor& x);
/// lm_head.weight, perhaps the embedding's.
Tensor head_weight(const Forward& f, const Params& head, const Params& embedding);
/// lm_head(hidden)
Tensor lm_logits(const Forward& f, const Params& head, const Params& embedding,
                 const Tensor& hidden);

// Defaults that most families' rows name.
Tensor decoder_layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden);
Tensor decoder_embed(Forward& f, const Params& p);
Tensor decoder_finish(Forward& f, const Params& head, const Tensor& hidden);
Tensor causal_lm_loss(Forward& f, const Params& head, const Params& embedding, const Tensor& hidden,
                      Tensor& logits);
/// inv_freq and, where it is a tensor of its own, original_inv_freq.
int64_t rotary_buffers(const Job& job);

/// Causal masks that attention modules of older releases hold.
int64_t causal_buffers(const Job& job);

/// GenericForSequenceClassification: the score of each sample's last token that is no padding.
Tensor classification_loss(Forward& f, const Params& head, const Tensor& hidden, Tensor& logits);

/// ForCausalLMLoss (transformers/loss/loss_utils.py), or what a release had in its place: logits
/// [b, s, V], which become what the model's outputs hold; labels [b, s].
Tensor causal_loss(Forward& f, Tensor& logits);
/// ForMaskedLMLoss: no shift.
Tensor masked_loss(Forward& f, const Tensor& logits);

}  // namespace memplan::hf
