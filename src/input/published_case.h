// Records of published.jsonl: measurements by others.
#pragma once

#include "input/json.h"
#include "job/measured.h"

namespace memplan {

/// Is this line such a record?
bool is_published(const JsonNode& line);

/// Reads a record by the reader of its source (published_sources.h). A record that leaves a fact
/// out, and one of a framework that memplan does not have, fill MeasuredCase::refused. Throws
/// Error{bad_input} where the line is malformed.
MeasuredCase read_published(const JsonNode& line);

}  // namespace memplan
