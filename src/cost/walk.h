// The walk over one micro-batch of a stage: what is alive at each block, forward and backward.
#pragma once

#include <string>
#include <vector>

#include "cost/summary.h"
#include "lower/program.h"
#include "memplan/plan.h"
#include "schedule/schedules.h"

namespace memplan {

/// A program with its blocks folded.
struct FoldedProgram {
  Program program;
  std::vector<BlockSummary> summaries;  ///< by block
};
FoldedProgram fold(const Job& job, int64_t loss_batch);

/// What a replica's forward returns for one micro-batch: logits, or hidden states of a model
/// without a head.
int64_t output_elements(const Job& job, const FoldedProgram& folded);

/// One moment: what lies above the states that are always there.
struct Moment {
  std::string_view phase;  ///< "forward", "backward", "optimizer step"
  std::string at;
  Bytes activations, transient;
  std::vector<LedgerLine> lines;  ///< sum to activations + transient
  Bytes total() const { return activations + transient; }
};

/// The highest moment of each phase, for one stage. `with_loss`: this rank runs the loss block.
std::vector<Moment> walk(const Job& job, const FoldedProgram& folded, int64_t stage,
                         const HeldInFlight& in_flight, bool with_loss);

/// The tensors that make up the activations, largest first, at most `limit`.
std::vector<LedgerLine> largest_tensors(const Job& job, const FoldedProgram& folded, int64_t stage,
                                        const HeldInFlight& in_flight, bool with_loss,
                                        size_t limit);

}  // namespace memplan
