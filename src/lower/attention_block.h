// Attention with its projections, as one tensor-parallel region.
#pragma once

#include "lower/family_row.h"

namespace memplan {

struct QueryKeyValue {
  TensorId q = kNoTensor, k = kNoTensor, v = kNoTensor;
};

/// Heads of one rank; every rank keeps at least one key-value head.
int64_t local_heads(const Graph& g, int64_t heads);

/// q, k and v of this rank from `x`, already inside the tensor-parallel region; keys and values
/// from `memory` where it is given (cross-attention). Separate and fused projections, q/k norms.
QueryKeyValue project(Graph& g, const FamilyRow& row, const ModelSpec& model, TensorId x,
                      TensorId memory = kNoTensor);

/// softmax(q·kᵀ)·v and the output projection; leaves the region.
TensorId attend(Graph& g, const FamilyRow& row, const ModelSpec& model, const QueryKeyValue& qkv);

/// The whole sub-layer: [stream tokens, h] -> [stream tokens, h].
TensorId attention_block(Graph& g, const FamilyRow& row, const ModelSpec& model, TensorId x,
                         TensorId memory = kNoTensor);

/// Multi-head latent attention (arXiv 2405.04434, section 2.1).
TensorId latent_attention_block(Graph& g, const FamilyRow& row, const ModelSpec& model, TensorId x);

}  // namespace memplan
