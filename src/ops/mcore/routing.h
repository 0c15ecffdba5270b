// How tokens reach their experts and come back (Megatron-core core/transformer/moe/{moe_utils,
// token_dispatcher,experts}.py, 0.18). Rows of [tokens, width]; how many rows an expert gets
// changes no size, so an even spread is as good as any of the same total.
#pragma once

#include <span>

#include "ops/mcore/linear.h"

namespace memplan::mcore {

/// Where the copies of `tokens` rows go: an index for each row or, fused, Transformer Engine's
/// row_id_map of int32 [n, 2 E + 1] (pytorch/triton/permutation.py, make_row_id_map).
Tensor row_map(aten::Session& session, int64_t tokens, int64_t rows, int64_t experts, bool fused);
/// x [n, h] -> [rows, h], a copy of a token for each of its experts.
Tensor permute(const Tensor& x, int64_t rows, const Tensor& map);
/// The copies summed up again: [rows, h] -> [n, h].
Tensor unpermute(const Tensor& x, int64_t tokens, const Tensor& map);
/// all_to_all: [sent, …] -> [received, …].
Tensor all_to_all(const Tensor& x, int64_t received);
/// Rows in another order: a copy, in backward too.
Tensor sort_chunks(const Tensor& x);
/// gather_from_sequence_parallel_region over `ranks`, and its reverse. `buffer`: where a gathered
/// tensor lies that stays (GlobalMemoryBuffer); null: it is a tensor like others.
Tensor gather_rows(const Tensor& x, int64_t ranks, int64_t* buffer = nullptr);
Tensor scatter_rows(const Tensor& x, int64_t ranks);

/// RouterGatingLinearFunction: x [n, h], weight [E, h] -> logits [n, E] in `dtype`.
Tensor router_linear(const Tensor& x, const Tensor& weight, DType dtype);
/// Columns of values [n, k] at their places in a matrix of zeros [n, E].
Tensor scatter_columns(const Tensor& values, const Tensor& columns, const Shape& sizes);
/// Transformer Engine's fused_topk_with_score_function and fused_compute_score_for_moe_aux_loss:
/// [n, E] of logits; keeps as many fp32 scores (pytorch/router.py).
Tensor fused_scores(const Tensor& logits);
/// softplus(x).sqrt(): keeps x and the result.
Tensor sqrt_softplus(const Tensor& x);
/// Over the last dimension: keeps x and the result.
Tensor logsumexp(const Tensor& x);

/// GroupedLinear: rows of x in stretches, one for each weight [out, in].
Tensor grouped_linear(const Tensor& x, std::span<const Tensor> weights, const Group& group);

/// act(x₁)·x₂ times the row's probability, in one kernel that keeps x and the probabilities.
Tensor weighted_swiglu(const Tensor& x, const Tensor& probabilities);

}  // namespace memplan::mcore
