// The blocks of Megatron-core's hybrid models
// (core/models/mamba/{mamba_model,mamba_layer_specs}.py,
// core/ssm/{mamba_block,mamba_layer,mamba_mixer}.py, 0.18): a layer is a state-space mixer,
// attention, or an MLP, each behind its norm and with the residual around it.
#pragma once

#include <string_view>
#include <vector>

#include "lower/families.h"
#include "lower/family_row.h"

namespace memplan::megatron {

/// The modules of a state-space layer.
inline constexpr std::string_view kMixerNorm = "norm", kMixerIn = "mixer.in_proj",
                                  kMixerConvolution = "mixer.conv1d", kMixerStep = "mixer.dt_bias",
                                  kMixerDecay = "mixer.A_log", kMixerSkip = "mixer.D",
                                  kMixerGatedNorm = "mixer.norm", kMixerOut = "mixer.out_proj";

/// MambaMixer.__init__: taps of the convolution, tokens of a chunk.
inline constexpr int64_t kMixerTaps = 4, kMixerChunk = 128;

std::vector<Stack> hybrid_stacks(const ModelSpec& model);
void hybrid_layer(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind);

}  // namespace memplan::megatron
