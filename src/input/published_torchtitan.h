// Records of torchtitan's benchmarks and pull requests.
#pragma once

#include "input/json.h"
#include "memplan/job.h"

namespace memplan {

/// The record as a job; what it leaves to the trainer is torchtitan's own of that time. Throws
/// Error{not_modelled} naming what it does not say, or what memplan does not have.
Job read_torchtitan_record(const JsonNode& line);

}  // namespace memplan
