// The feed-forward sub-layer: plain, gated, or a mixture of experts.
#pragma once

#include "lower/family_row.h"

namespace memplan {

/// One feed-forward network of width `ffn`, as one tensor-parallel region.
/// [stream tokens, h] -> [stream tokens, h].
TensorId mlp_block(Graph& g, const MlpRow& row, const ModelSpec& model, int64_t ffn, TensorId x);

/// Router, experts and the always-on expert where the row has one.
TensorId moe_block(Graph& g, const FamilyRow& row, const ModelSpec& model, TensorId x);

}  // namespace memplan
