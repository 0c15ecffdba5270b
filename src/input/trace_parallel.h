// The "parallel" key of a case of trace_step.py: DDP, FSDP1, FSDP2, DeepSpeed, tensor parallelism.
#pragma once

#include <cstdint>
#include <optional>

#include "input/json.h"
#include "memplan/job.h"

namespace memplan {

// A job while the keys of its case are read.
struct TraceDraft {
  Job job;
  DType weights = DType::bf16;
  std::optional<DType> autocast;
  bool dropout = true;
  int64_t micro_batches = 1;
  std::optional<DType> accumulated;  ///< DeepSpeed's grad_accum_dtype
};

/// Throws Error{bad_input, not_modelled}.
void read_trace_parallel(const JsonNode& node, TraceDraft& draft);

}  // namespace memplan
