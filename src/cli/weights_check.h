// Do the stored weights belong to this model?
#pragma once

#include <string>

#include "memplan/model.h"

namespace memplan {

/// Compares names, shapes and totals of the safetensors files at `path` with the model's
/// parameters; "weights: 291 tensors match" or as much as an index alone can tell.
/// Throws Error{bad_input} with the first differences.
std::string check_weights(const ModelSpec& model, const std::string& path);

}  // namespace memplan
