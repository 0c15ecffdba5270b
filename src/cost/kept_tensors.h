// The tensors that autograd keeps, as reports show them.
#pragma once

#include <vector>

#include "memplan/plan.h"
#include "ops/aten/tensor.h"

namespace memplan {

/// Adds tensors of `micro_batches` in flight to `lines`.
void add_kept_tensors(std::vector<LedgerLine>& lines, const std::vector<aten::KeptTensors>& kept,
                      int64_t micro_batches);

/// The largest first, and no more than a report shows.
void sort_kept_tensors(std::vector<LedgerLine>& lines);

}  // namespace memplan
