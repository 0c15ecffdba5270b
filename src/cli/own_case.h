// A user's own measurement: the request of a report and what was measured of it.
#pragma once

#include "input/json.h"
#include "job/measured.h"

namespace memplan {

/// Has the line a `request`?
bool is_own_case(const JsonNode& line);

/// {"id"?, "request": …, "measured": {"allocated", "reserved", "device": bytes, "step_ms"}}.
/// Throws Error{bad_input} where the request or a figure is malformed.
MeasuredCase read_own_case(const JsonNode& line);

}  // namespace memplan
