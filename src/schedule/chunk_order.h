// The order in which a rank runs forwards and backwards of its model chunks under 1F1B.
#pragma once

#include <cstdint>
#include <vector>

#include "schedule/schedules.h"

namespace memplan {

/// One micro-batch through one chunk.
struct ChunkTask {
  bool forward = true;
  int32_t chunk = 0;
  friend bool operator==(const ChunkTask&, const ChunkTask&) = default;
};

/// All tasks of stage `stage` in one step. `group`: consecutive micro-batches that run through a
/// chunk before the next chunk's turn (--microbatch-group-size-per-vp-stage; p by default). Without
/// chunks: PipeDream-flush (Megatron-core schedules.py, forward_backward_pipelining_without_
/// interleaving); with them the interleaved schedule (get_pp_rank_microbatches, get_schedule_table;
/// 0.18). More micro-batches than the fullest moment needs are left out: the steady state repeats.
std::vector<ChunkTask> chunk_order(const PipelineShape& shape, int64_t stage, int64_t group);

}  // namespace memplan
