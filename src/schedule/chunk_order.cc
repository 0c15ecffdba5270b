#include "schedule/chunk_order.h"

#include <algorithm>

namespace memplan {
namespace {

// Past the warm-up every group of micro-batches looks like the one before.
int64_t enough(const PipelineShape& shape, int64_t group) {
  const int64_t most = checked_mul(group, checked_add(4, ceil_div(shape.stages * 4, group)));
  if (shape.micro_batches <= most) return shape.micro_batches;
  return most + shape.micro_batches % group;
}

// The chunk of the k-th forward: groups of micro-batches go through all chunks in turn.
std::vector<int32_t> schedule_table(int64_t micro_batches, int64_t chunks, int64_t group) {
  std::vector<int32_t> out;
  for (int64_t first = 0; first < micro_batches; first += group)
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      for (int64_t m = first; m < std::min(first + group, micro_batches); ++m)
        out.push_back(static_cast<int32_t>(chunk));
  return out;
}

}  // namespace

std::vector<ChunkTask> chunk_order(const PipelineShape& shape, int64_t stage, int64_t group) {
  const int64_t chunks = shape.chunks;
  const std::vector<int32_t> table = schedule_table(enough(shape, group), chunks, group);
  const int64_t total = std::ssize(table);
  const int64_t behind = shape.stages - stage - 1;
  const int64_t warm_up = std::min(total, chunks > 1 ? behind * 2 + (chunks - 1) * group : behind);
  std::vector<ChunkTask> out;
  int64_t forwards = 0, backwards = 0;
  const auto forward = [&] { out.push_back({true, table[static_cast<size_t>(forwards++)]}); };
  const auto backward = [&] {
    const int32_t last = static_cast<int32_t>(chunks) - 1;
    out.push_back({false, last - table[static_cast<size_t>(backwards++)]});
  };
  while (forwards < warm_up) forward();
  while (forwards < total) {
    forward();
    backward();
  }
  while (backwards < total) backward();
  return out;
}

}  // namespace memplan
