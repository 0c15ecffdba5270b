// The engine's front door.
#pragma once

#include "memplan/plan.h"

namespace memplan {

/// Answers one job: memory of every kind of rank, communication and verdict. Limits and
/// suggestions are left empty. Throws Error{bad_input, too_large, not_modelled}.
Plan predict(const Job& job);

/// predict(), and in addition the phases beside a steady step, the limits and, where the job does
/// not fit, the changes that make it fit, cheapest first.
Plan fit(const Job& job);

}  // namespace memplan
