// Records of Megatron-LM's functional tests: arguments, environment and memory of the last rank.
#pragma once

#include "input/json.h"
#include "memplan/job.h"

namespace memplan {

/// The record's `args` and `env_vars` as a job. Throws Error{not_modelled} naming what the record
/// does not say or memplan does not have.
Job read_megatron_record(const JsonNode& line);

}  // namespace memplan
