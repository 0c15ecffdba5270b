// What to change when a job does not fit.
#pragma once

#include <vector>

#include "memplan/plan.h"

namespace memplan {

/// The nearest jobs that fit, cheapest first: changes that cost no time before those that
/// recompute, those that communicate, those that change the training, and those that need other
/// hardware. Single changes first, then pairs and triples where no single one is enough. Empty
/// where nothing helps.
std::vector<Suggestion> suggest(const Job& job);

}  // namespace memplan
