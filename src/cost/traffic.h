// Communication of one step: every group's collectives, with counts, message sizes and bytes sent.
#pragma once

#include <vector>

#include "cost/walk.h"
#include "memplan/plan.h"

namespace memplan {

/// Traffic of a GPU of `stage`.
///   tensor, expert, context parallel: as the operators state it, × layers × micro-batches, and the
///     forward's again under full recomputation
///   data parallel by ZeRO stage (arXiv 1910.02054, section 7): gradients all-reduced (stage 0);
///     reduce-scattered and the parameters gathered (1); the same, a reduce-scatter for each
///     micro-batch (2); and two gathers of each block a micro-batch (3)
///   pipeline: one message a boundary, direction and micro-batch (chunk)
///   tied embeddings on two stages: one all-reduce of their gradient
std::vector<Traffic> stage_traffic(const Job& job, const FoldedProgram& folded, int64_t stage);

/// The traffic of the busiest stage: the one that sends most bytes.
std::vector<Traffic> busiest_traffic(const Job& job, const FoldedProgram& folded);

/// The same of a bare size: data parallelism alone is known.
std::vector<Traffic> bare_traffic(const Job& job, int64_t elements);

}  // namespace memplan
