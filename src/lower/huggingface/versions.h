// What moved between the releases of transformers: one table for each fact, by family where
// families moved at different times. The forwards themselves are those of 5.12.
#pragma once

#include <cstdint>

#include "memplan/job.h"

namespace memplan::hf {

/// How ...ForCausalLM turns logits [b, s, V] and labels [b, s] into a loss.
enum class CausalLossForm : uint8_t {
  shifted,         ///< the model copies logits[:, :-1] in their dtype
  widened,         ///< the model's logits become fp32, then logits[:, :-1] are copied
  widened_inside,  ///< the same within ForCausalLMLoss: the model returns its own logits
  padded,          ///< fp32 within ForCausalLMLoss, the labels move: nothing is copied
};
CausalLossForm causal_loss_form(const Job& job);

/// How a causal mask is made (the model's _update_causal_mask, or masking_utils.py).
enum class CausalMaskForm : uint8_t {
  summed,    ///< additive [b, 1, s, s], always: the causal one and that of the padding, added
  filled,    ///< additive [s, s + 1], for sdpa too where there is padding
  compared,  ///< bool, which eager attention makes additive [b, 1, s, s]
};
CausalMaskForm causal_mask_form(const Job& job);

/// What is done to q, k and v [b, heads, s, d] before scaled_dot_product_attention.
struct SdpaForm {
  bool contiguous;  ///< all three are copied where they are strided
  bool grouped;     ///< enable_gqa where there is no mask, in place of repeat_kv
};
SdpaForm sdpa_form(const Job& job);

/// Whose modules hold inv_freq, and who turns it into cos and sin.
enum class RotaryHome : uint8_t {
  tables,            ///< each layer's attention holds cos and sin of all positions
  layers,            ///< each layer's attention does both
  layers_and_model,  ///< both hold it; the model computes, once for all
  model,
};
RotaryHome rotary_home(const Job& job);

/// Scores under a mask are no less than the least number of their dtype: torch.max of both.
bool clamps_scores(const Job& job);

/// RMSNorm multiplies the unwidened input, and by its weight in fp32 (LlamaRMSNorm of 4.30).
bool narrows_norm_last(const Job& job);

/// Layers are checkpointed by torch.utils.checkpoint(use_reentrant=True), its default, which there
/// is no way to change.
bool checkpoints_reentrantly(const Job& job);

/// original_inv_freq is a buffer of its own, not another name of inv_freq.
bool keeps_original_frequencies(const Job& job);

/// Attention modules hold a causal mask [1, 1, p, p] of p positions, bool, and before 5.0 one
/// number more, masked_bias.
bool holds_causal_buffers(const Job& job);
bool holds_masked_bias(const Job& job);

/// The model's own mask and its own scale are what eager attention applies (GPT-2).
bool applies_causal_buffers(const Job& job);

/// Gemma scales embeddings by a tensor it makes, which autograd keeps; later by a buffer.
bool makes_embedding_scale(const Job& job);

/// Phi-3 turns the first columns of a head and joins them with the rest; before, whole heads.
bool turns_part_of_heads(const Job& job);

/// BERT's token types are a stretch of a buffer; later they are gathered from it.
bool slices_token_types(const Job& job);

/// Throws Error{not_modelled} where the forward of this family in this release is not modelled;
/// the hint names the nearest release that is.
void require_modelled_release(const Job& job);

}  // namespace memplan::hf
