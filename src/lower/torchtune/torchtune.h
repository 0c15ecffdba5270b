// torchtune's recipes full_finetune_single_device and lora_finetune_single_device, of November
// 2024: torchtune 0.4.0, torchao 0.6.1, torch 2.5.
#pragma once

#include "lower/huggingface/module.h"

namespace memplan::torchtune {

/// Throws Error{not_modelled} for an architecture whose builder is not in one row.
const hf::Family& family(const ModelSpec& model);

/// Refuses, by name, what the recipes do not do. Throws Error{not_modelled, bad_input}.
void require_modelled(const Job& job);

/// Bytes of the tensors of a packed batch beside the tokens and labels: position ids and the mask,
/// for sdpa a boolean one, for flex attention a BlockMask.
Bytes packed_inputs(const Job& job);
/// Whether packed samples are told apart by flex attention (torchtune/utils/_import_guard.py,
/// _SUPPORTS_FLEX_ATTENTION).
bool uses_flex_attention(const Job& job);

/// nn.Linear NAME, or LoRALinear or FrozenNF4Linear in its place.
hf::Tensor linear(const hf::Forward& f, const hf::Params& p, std::string_view name,
                  const hf::Tensor& x);

/// Bytes of one module of rotary embedding: its cache of max_seq_len positions, and theta.
int64_t rope_bytes(const ModelSpec& model);
/// The positions of a batch in that cache.
hf::Tensor rope_cache(const hf::Forward& f);
/// x [b, s, heads, d], turned.
hf::Tensor apply_rope(const hf::Forward& f, const hf::Tensor& x);

/// Fills Forward::loop with train()'s variables.
void enter_loop(hf::Forward& f);
/// _loss_step and what train() makes of it: hidden states to the loss that is differentiated.
hf::Tensor loss(hf::Forward& f, const hf::Params& head, const hf::Params& embedding,
                hf::Tensor hidden, hf::Tensor& logits);

}  // namespace memplan::torchtune
