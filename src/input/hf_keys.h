// Single keys of a HuggingFace config.
#pragma once

#include <cstdint>

#include "input/json.h"

namespace memplan {

struct HfExtra;
struct HfFamily;

/// The value of a fact that goes to ModelSpec::extra. Throws Error{bad_input} with its pointer.
int64_t read_hf_extra(const HfExtra& row, const JsonNode& node);

/// A key that no family knows and that looks like one this family misses is a slip: taking the
/// default in its place would answer for another model. Throws Error{bad_input} naming both.
void refuse_misspelled_keys(const HfFamily& family, const JsonNode& config);

}  // namespace memplan
