// Records of a single operator's memory: benchmark/data/all_benchmark_data.csv of Liger-Kernel.
#pragma once

#include "input/json.h"
#include "job/measured.h"

namespace memplan {

bool is_operator_record(const JsonNode& line);

/// Fills `out.figures`, and `out.bench` or `out.refused`: a benchmark that memplan does not run.
void read_operator_record(const JsonNode& line, MeasuredCase& out);

}  // namespace memplan
