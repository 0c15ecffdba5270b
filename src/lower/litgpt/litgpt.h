// Lightning-AI/litgpt as finetune/{full,lora,adapter,adapter_v2}.py train it on one GPU: lit_gpt at
// commit 8641822 (October 2023), whose figures its resource tables print; the adapters' are of
// 0f021f3 (January 2024). Under Lightning Fabric 2.1.
#pragma once

#include "lower/huggingface/module.h"

namespace memplan::litgpt {

/// Throws Error{not_modelled} for an architecture that litgpt writes otherwise than in one row.
const hf::Family& family(const ModelSpec& model);

/// Refuses, by name, what the scripts do not do. Throws Error{not_modelled}.
void require_modelled(const Job& job);

/// Of 0f021f3 on: norms in fp32, the residual stream added last, the loss divided by the tokens
/// that count.
bool is_later(const hf::Forward& f);

/// nn.Linear NAME, or what stands in its place: LoRALinear, LoRAQKVLinear, AdapterV2Linear.
hf::Tensor linear(const hf::Forward& f, const hf::Params& p, std::string_view name,
                  const hf::Tensor& x);

}  // namespace memplan::litgpt
