// Results of trace_step.py: one real PyTorch step, to the byte.
#pragma once

#include "input/json.h"
#include "job/measured.h"

namespace memplan {

/// Is this line a result of trace_step.py?
bool is_trace(const JsonNode& line);

/// Reads a result: figures `parameters`, `trainable`, `optimizer`, `activations`, `peak.PHASE`,
/// `peak_at.PHASE` and, of a GPU, `cuda.allocated`, `cuda.reserved`, `cuda.device`. What memplan
/// cannot model fills MeasuredCase::refused. Throws Error{bad_input} where the line is malformed.
MeasuredCase read_trace(const JsonNode& line);

}  // namespace memplan
