// Multi-token prediction of Megatron-core (core/transformer/multi_token_prediction.py, 0.18):
// behind the last layer, layers that each predict one token more from the stream and the next
// embedding.
#pragma once

#include <string_view>

#include "lower/families.h"
#include "lower/megatron/walk.h"

namespace memplan::megatron {

/// Modules of a MultiTokenPredictionLayer beside its transformer layer.
inline constexpr std::string_view kMtpEmbeddingNorm = "enorm", kMtpHiddenNorm = "hnorm",
                                  kMtpProjection = "eh_proj", kMtpFinalNorm = "final_layernorm";

/// One such layer, of the kind that the model's last layer has.
void build_mtp_layer(const ModelSpec& model, Graph& g);

/// The embedding that a pipeline stage of its own holds for them.
void build_mtp_embedding(const ModelSpec& model, Graph& g);

/// MultiTokenPredictionBlock and process_mtp_loss: stream [s, b, h] behind the decoder's final
/// norm; returns it with the losses hung onto it. `layers`: one for each token more. `embedding`:
/// that of this stage. `output`: the vocabulary's matrix, which all share.
Tensor predict_more(Walk& w, std::span<const Params* const> layers, const Params& embedding,
                    const Tensor& output, Tensor stream);

}  // namespace memplan::megatron
