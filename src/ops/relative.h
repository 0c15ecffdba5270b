// Attention scores that depend on the distance between tokens.
#pragma once

#include <string>

#include "ops/graph.h"

namespace memplan {

/// A learned bias for each bucket of distances and head (T5, arXiv 1910.10683, section 2.1).
/// Parameter NAME.weight [buckets, heads], heads cut by tensor parallelism. Keeps the bucket index
/// of every pair of tokens; the bias is added to the scores, which keeps nothing.
struct RelativeBias {
  std::string name;
  int64_t buckets = 0, heads = 0;  ///< whole model
};
void relative_bias(Graph& g, const RelativeBias& spec);

/// Disentangled attention (DeBERTa, arXiv 2006.03654, section 3.1): scores of `content`, the
/// queries or keys [tokens, heads·d], against projected distances `positions` [rows, heads·d], then
/// picked for each pair of tokens. Keeps content, the distances once for each sample, and the index
/// of every pair, as transformers' modeling_deberta_v2.py does. Sizes are per rank.
struct RelativeScores {
  int64_t heads = 0, head_dim = 0, rows = 0;
};
TensorId relative_scores(Graph& g, TensorId content, TensorId positions,
                         const RelativeScores& spec);

}  // namespace memplan
