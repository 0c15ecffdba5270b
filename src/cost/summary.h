// What one block contributes, as a flat struct: the graph folded once, then only added up.
#pragma once

#include "memplan/strategy.h"
#include "ops/graph.h"

namespace memplan {

/// Parameters of one sharding group that a rank of one tensor-parallel slice holds.
struct GroupSummary {
  int64_t elements = 0;
  int64_t trainable = 0;
  Bytes moments;  ///< of trainable parameters, before ZeRO divides them

  GroupSummary& operator+=(const GroupSummary& other);
  GroupSummary operator*(int64_t times) const;
};

/// One micro-batch of one block. Bytes are those of the rank.
struct BlockSummary {
  GroupSummary dense, expert;
  Bytes held;   ///< saved tensors without recomputation
  Bytes kept;   ///< what stays until backward under the strategy's recomputation
  Bytes again;  ///< what backward makes anew while it is in this block
  double flops = 0, flops_backward = 0;  ///< of the model: the rank's part of a replica's
  double flops_again = 0;  ///< of recomputation, the strategy's and the kernels' own, and of what
                           ///< tensor-parallel ranks all do alike
};

/// `checkpointed`: the block is one of those --recompute applies to (layers are, head and loss
/// not).
BlockSummary summarize(const Graph& graph, const Strategy& strategy, bool checkpointed);

}  // namespace memplan
