// Moments of a job beside its steady steps: before the first, around checkpoints, in evaluation.
#pragma once

#include "memplan/plan.h"

namespace memplan {

/// Adds to each rank's phases "initialisation" (the model on its GPU, nothing trained yet), "first
/// step" (before the optimizer has states), "evaluation", "checkpoint save", "checkpoint load" and
/// "resume" (the first step after it), as far as the framework's are modelled.
void add_lifecycle(Plan& plan);

}  // namespace memplan
