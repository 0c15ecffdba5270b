// How far the job can be stretched before it stops fitting.
#pragma once

#include "memplan/plan.h"

namespace memplan {

/// Largest micro-batch (the number of micro-batches stays), longest sequence (in steps of what cp,
/// tp and sequence parallelism need) and fewest GPUs (the data-parallel degree shrinks, samples a
/// step stay where they divide). Each alone, the rest of the job unchanged.
Limits find_limits(const Job& job);

}  // namespace memplan
