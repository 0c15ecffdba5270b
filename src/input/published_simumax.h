// Records of MooreThreads/SimuMax: Megatron-core on eight B200, every rank's memory.
#pragma once

#include "input/json.h"
#include "memplan/job.h"

namespace memplan {

/// Throws Error{not_modelled} naming what the record does not say or memplan does not have.
Job read_simumax_record(const JsonNode& line);

}  // namespace memplan
