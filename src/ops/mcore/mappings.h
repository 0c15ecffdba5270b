// Megatron-core's mappings between regions that tensor parallelism cuts differently
// (core/tensor_parallel/mappings.py, 0.18).
#pragma once

#include "ops/mcore/linear.h"

namespace memplan::mcore {

/// _GatherFromModelParallelRegion: [s, b, w/tp] -> [s, b, w]. The parts are gathered one behind the
/// other and put side by side.
Tensor gather_columns(const Tensor& x, const Group& group);

/// _ScatterToSequenceParallelRegion: a rank's part [s/tp, b, w] of [s, b, w], a view; x itself
/// without sequence parallelism.
Tensor own_rows(const Tensor& x, const Group& group);

}  // namespace memplan::mcore
