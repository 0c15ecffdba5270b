// The attention core: softmax(q·kᵀ)·v, without its projections.
#pragma once

#include "ops/graph.h"

namespace memplan {

/// Sizes are per rank: heads already divided by tensor parallelism.
struct Attention {
  int64_t heads = 0, kv_heads = 0;
  int64_t qk_head_dim = 0, v_head_dim = 0;
  double dropout = 0;
  bool soft_cap = false;  ///< scores go through cap·tanh(scores/cap)
  int64_t keys = 0;       ///< tokens that keys and values hold per sample; 0: the whole sequence
};

/// q: [tokens, heads·qk_head_dim]; k, v by kv_heads. Returns [tokens, heads·v_head_dim].
///   unfused: q and k for the scores; the soft cap's output; the softmax's; the dropout mask and
///            output; v. What lies between q, k, v and the output is recomputable
///            (arXiv 2205.05198, section 5).
///   flash:   q, k, v, the output, and the log-sum-exp in fp32 (arXiv 2205.14135, section 3.1).
/// With context parallelism keys and values travel around the group, forward and backward.
TensorId attention(Graph& g, TensorId q, TensorId k, TensorId v, const Attention& spec);

/// How a fused projection's output is taken apart: a view of `elements` that keeps the whole
/// tensor alive when saved. The textbook counts each part alone, once.
TensorId slice(Graph& g, TensorId whole, std::string_view name, int64_t elements);

}  // namespace memplan
