// Unsloth's loss on transformers' own model: what LlamaForCausalLM.forward of unsloth 2026.10.9
// (models/llama.py, CausalLM_fast_forward) does with the last hidden states.
#pragma once

#include "lower/huggingface/module.h"

namespace memplan::hf {

/// Throws Error{not_modelled} where --loss unsloth is asked of a family whose forward Unsloth does
/// not replace by that one, or of a GPU or a torch on which it takes other ways.
void require_unsloth(const Job& job);

/// unsloth_fused_ce_loss (unsloth_zoo 2026.10.9, fused_losses): no logits.
Tensor unsloth_loss(const Forward& f, const Tensor& weight, const Tensor& hidden);

}  // namespace memplan::hf
