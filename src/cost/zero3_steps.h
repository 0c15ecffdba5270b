// ZeRO-3 played by hand: what each GPU holds while a stack of equal layers runs forward and back.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "ops/graph.h"

namespace memplan {

/// Elements that one GPU holds, of all layers together.
struct Zero3Held {
  int64_t parameter_shards = 0;  ///< always there, as are the optimizer's states of the same shards
  int64_t gathered = 0;          ///< the running layer's parameters, whole
  int64_t gradient_shards = 0;   ///< of layers whose backward is over
  int64_t unreduced = 0;         ///< the running layer's gradients, whole
  int64_t total() const { return parameter_shards + gathered + gradient_shards + unreduced; }
};

/// One moment of the walk. `sent` counts elements one GPU sends to get there.
struct Zero3Step {
  std::string_view phase;   ///< "forward", "backward", "optimizer step"
  int64_t layer = -1;       ///< -1: none is running
  std::string_view action;  ///< "before", "all_gather", "compute", …
  Zero3Held held;
  int64_t sent = 0;
};

/// The elements of a layer that GPU `gpu` keeps: [first, first + count).
struct ShardRange {
  int64_t first = 0, count = 0;
};
ShardRange shard_of_layer(int64_t elements, int64_t gpus, int64_t gpu);

/// Every moment of one step on GPU 0, which holds most where the cut is uneven
/// (arXiv 1910.02054, sections 5.3 and 7.2.2). A gathered layer is a buffer of its own beside the
/// shard it was gathered from. Throws Error{bad_input} for counts below 1, Error{too_large}.
std::vector<Zero3Step> zero3_steps(int64_t layers, int64_t elements, int64_t gpus);

}  // namespace memplan
