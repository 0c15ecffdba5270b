// The memory of one operator alone.
#pragma once

#include "job/measured.h"

namespace memplan {

/// torch.cuda.max_memory_allocated of forward and backward, gradients of an earlier round still
/// there (Liger-Kernel, benchmark/scripts/utils.py, _test_memory: the median of ten rounds).
/// Throws Error{not_modelled} where the GPU's multiprocessors matter and are not known.
Bytes operator_peak(const OperatorBench& bench);

}  // namespace memplan
