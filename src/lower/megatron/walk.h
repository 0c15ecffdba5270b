// What the modules of one forward of Megatron-core share.
#pragma once

#include "lower/family_row.h"
#include "lower/megatron/layout.h"
#include "lower/megatron/parameters.h"
#include "memplan/job.h"
#include "ops/aten/session.h"
#include "ops/mcore/attention.h"
#include "ops/mcore/checkpoint.h"
#include "ops/mcore/linear.h"

namespace memplan::megatron {

using aten::Tensor;

struct Walk {
  aten::Session& session;
  const Job& job;  ///< padded
  FamilyRow row;
  mcore::Group group = {};
  mcore::AttentionOptions attention = {};
  /// A micro-batch: tokens and labels int64 [b, s], loss mask fp32 [b, s], attention mask bool.
  Tensor tokens = {}, labels = {}, loss_mask = {}, attention_mask = {};
  /// Of T5Model beside them: the decoder's tokens, masks of its attentions, the encoder's output.
  Tensor decoder_tokens = {}, decoder_mask = {}, cross_mask = {}, memory = {};
  /// Logits that a variable holds until the loss is there.
  Tensor held_logits = {};

  /// Bytes that attributes of modules hold of the last micro-batch until the next one.
  int64_t attributes = 0;

  const ModelSpec& model() const { return job.model; }
  const Strategy& strategy() const { return job.strategy; }
  bool is_t5() const { return row.form == Form::mcore_t5; }
  int64_t sequence() const { return job.strategy.sequence / job.strategy.cp; }
  /// [s, b, h] of the residual stream, s divided by tp under sequence parallelism.
  aten::Shape stream() const;
};

/// `buffer`: where modules of the local spec count the largest tensor that stays.
Walk make_walk(aten::Session& session, const Job& job, int64_t* buffer);

/// LanguageModelEmbedding: tokens [b, s] -> [s, b, h].
Tensor embed(Walk& w, const Params& p, const Tensor& tokens);
/// MLASelfAttention of what its norm gives, without its output projection: [s, b, nh·dv].
Tensor latent_attention(Walk& w, const Params& p, const Tensor& x);
/// CrossAttention of a decoder layer behind its norm, without its output projection.
Tensor cross_attention(Walk& w, const Params& p, const Tensor& hidden);
/// What --recompute-modules' core_attn runs again.
Tensor core_attention(const Walk& w, const Tensor& q, const Tensor& k, const Tensor& v);
/// Of tokens [n, h] over E experts: probabilities [n, E], zero but for a token's own experts, and
/// which those are.
struct Routed {
  Tensor probabilities, map;
};
Routed route(const Walk& w, const Params& p, const Tensor& tokens);
/// A module's attributes keep these tensors when their forward is over.
void hold_as_attributes(Walk& w, std::initializer_list<const Tensor*> tensors);
/// MoELayer behind its norm: [s, b, h] -> [s, b, h].
Tensor experts(Walk& w, const Params& p, const Tensor& hidden);
/// MLP whose first linear layer holds the norm before it, or (`norm` without a weight) none.
Tensor mlp(const Walk& w, const Params& p, const mcore::Norm& norm, const MlpRow& names,
           const Tensor& hidden);
/// A module whose outputs are dropped and made again, as this release of Megatron-core does it.
mcore::DiscardedOutputs discarded(const Walk& w);
/// Whether --recompute-modules names the module, "core_attn" where it names none.
bool recomputes(const Walk& w, std::string_view module);
/// SelfAttention and its output projection, behind its norm.
Tensor attention(Walk& w, const Params& p, const Tensor& hidden);
/// MLP or MoELayer behind its norm.
Tensor feed_forward(Walk& w, const Params& p, bool moe, const Tensor& hidden);
/// A layer of HybridStack: one of its sub-layers, or a state-space mixer.
Tensor hybrid_layer(Walk& w, const Params& p, const LayerKind& kind, const Tensor& hidden);
/// TransformerLayer.
Tensor layer(Walk& w, const Params& p, const LayerKind& kind, const Tensor& hidden);
/// The norm behind the last layer.
Tensor final_norm(const Walk& w, const Params& p, const Tensor& hidden);
/// Output layer and cross-entropy [b, s] of labels [b, s]. `output`: the vocabulary's matrix.
/// `logits`, where given, holds them.
Tensor token_losses(const Walk& w, const Tensor& output, const Tensor& bias, Tensor hidden,
                    const Tensor& labels, Tensor* logits = nullptr);
/// Loss of one micro-batch, a number, from what the final norm gives.
Tensor head(const Walk& w, const Params& p, const Tensor& output, Tensor hidden);

}  // namespace memplan::megatron
