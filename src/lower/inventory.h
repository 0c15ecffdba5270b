// The parameters of a whole model, by name: what transformers' module lists.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lower/program.h"
#include "memplan/job.h"
#include "memplan/model.h"

namespace memplan {

struct NamedParam {
  std::string name;
  std::vector<int64_t> shape;
};

/// Every parameter of the model, unsharded, layers expanded, in forward order.
/// Throws as require_family; Error{bad_input} for a bare size, which has no parameters by name.
std::vector<NamedParam> inventory(const ModelSpec& model);

/// Their number of elements; multiplies equal layers instead of listing them. A bare size counts as
/// it says. Throws as require_family, and Error{too_large}.
int64_t count_parameters(const ModelSpec& model);

/// Those of a job, whatever the framework makes of them. Throws as lower.
ParameterCounts count_job_parameters(const Job& job);

}  // namespace memplan
