// The forwards that are written, by the file that holds them.
#pragma once

#include <span>

#include "lower/huggingface/module.h"

namespace memplan::hf {

std::span<const Family> llama_families();    ///< llama, mistral, qwen2, qwen3
std::span<const Family> variant_families();  ///< Gemma, Phi-3, OLMo 2, StarCoder 2, …
std::span<const Family> classic_families();  ///< GPT-2, GPT-NeoX, OPT, BLOOM, Falcon, …
std::span<const Family> moe_families();      ///< experts, and latent attention
std::span<const Family> encoder_families();  ///< BERT, RoBERTa, DeBERTa, T5

}  // namespace memplan::hf
