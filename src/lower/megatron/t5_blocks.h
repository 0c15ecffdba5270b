// The blocks of Megatron-core's T5Model (core/models/T5/{t5_model,t5_spec}.py, 0.18): two stacks
// that share one embedding; what tells its layers from GPTModel's is the decoder's cross-attention.
#pragma once

#include <string_view>
#include <vector>

#include "lower/families.h"
#include "lower/family_row.h"

namespace memplan::megatron {

/// The modules of cross-attention and what stands between the stacks.
inline constexpr std::string_view kCrossNorm = "pre_cross_attn_layernorm",
                                  kCrossQuery = "cross_attention.linear_q",
                                  kCrossKeyValue = "cross_attention.linear_kv",
                                  kCrossOutput = "cross_attention.linear_proj",
                                  kEncoderNorm = "encoder.final_layernorm";

/// Tokens of a sample in the decoder (--decoder-seq-length).
int64_t decoder_sequence(const ModelSpec& model);

std::vector<Stack> t5_stacks(const ModelSpec& model);
void t5_layer(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind);
void t5_bridge(Graph& g, const FamilyRow& row, const ModelSpec& model);
TensorId t5_head(Graph& g, const FamilyRow& row, const ModelSpec& model, bool tied_copy);

}  // namespace memplan::megatron
