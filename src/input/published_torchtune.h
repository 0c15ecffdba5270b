// Records of torchtune's README and tutorials: its single-device recipes.
#pragma once

#include "input/json.h"
#include "memplan/job.h"

namespace memplan {

/// The record as a job; what it leaves to its recipe is the recipe's. Throws Error{not_modelled}
/// naming what neither says, or what memplan does not have.
Job read_torchtune_record(const JsonNode& line);

}  // namespace memplan
