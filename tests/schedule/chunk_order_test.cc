#include "schedule/chunk_order.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

namespace memplan {
namespace {

// "F0 B0": forwards and backwards with their chunks.
std::string text(const std::vector<ChunkTask>& tasks) {
  std::string out;
  for (const ChunkTask& task : tasks) {
    if (!out.empty()) out += ' ';
    out += (task.forward ? 'F' : 'B') + std::to_string(task.chunk);
  }
  return out;
}

// The most micro-batches that are in flight in one chunk, and in all.
int64_t most_in_flight(const std::vector<ChunkTask>& tasks) {
  int64_t now = 0, most = 0;
  for (const ChunkTask& task : tasks) most = std::max(most, now += task.forward ? 1 : -1);
  return most;
}

TEST_CASE("1F1B warms up with the stages behind, then alternates") {
  CHECK(text(chunk_order({3, 1, 4}, 0, 3)) == "F0 F0 F0 B0 F0 B0 B0 B0");
  CHECK(text(chunk_order({3, 1, 4}, 2, 3)) == "F0 B0 F0 B0 F0 B0 F0 B0");
  CHECK(text(chunk_order({1, 1, 2}, 0, 1)) == "F0 B0 F0 B0");
  // Fewer micro-batches than stages: all forwards first.
  CHECK(text(chunk_order({4, 1, 2}, 0, 4)) == "F0 F0 B0 B0");
}

// p 2, v 2, m 4, last stage: (v - 1)·p = 2 forwards of warm-up; groups of 2 go through both chunks.
TEST_CASE("interleaved 1F1B") {
  CHECK(text(chunk_order({2, 2, 4}, 1, 2)) == "F0 F0 F1 B1 F1 B1 F0 B0 F0 B0 F1 B1 F1 B1 B0 B0");
  // Stage 0 runs 2 more ahead.
  CHECK(text(chunk_order({2, 2, 4}, 0, 2)).starts_with("F0 F0 F1 F1 F0 B1"));
}

TEST_CASE("in flight: p - r of 1F1B, and the interleaved warm-up and one") {
  for (int64_t p : {1, 2, 4, 8})
    for (int64_t r = 0; r < p; ++r) {
      CHECK(most_in_flight(chunk_order({p, 1, 64}, r, p)) == p - r);
      for (int64_t v : {2, 3})
        if (p > 1)
          CHECK(most_in_flight(chunk_order({p, v, 64}, r, p)) == 2 * (p - r - 1) + (v - 1) * p + 1);
    }
}

TEST_CASE("every forward has its backward, and a larger step holds no more") {
  for (int64_t m : {4, 8, 12, 100, 1000}) {
    const std::vector<ChunkTask> tasks = chunk_order({4, 3, m}, 1, 4);
    for (int32_t chunk : {0, 1, 2})
      CHECK(std::count(tasks.begin(), tasks.end(), ChunkTask{true, chunk}) ==
            std::count(tasks.begin(), tasks.end(), ChunkTask{false, chunk}));
    CHECK(most_in_flight(tasks) == std::min<int64_t>(3 * m, 2 * 2 + 2 * 4 + 1));
    CHECK(tasks.size() < 1000);
  }
}

TEST_CASE("a group need not be the stages") {
  // Groups of 5 over 4 stages (last one): (v - 1)·5 forwards come before the first backward.
  const std::vector<ChunkTask> tasks = chunk_order({4, 2, 5}, 3, 5);
  CHECK(text(tasks).starts_with("F0 F0 F0 F0 F0 F1 B1"));
}

}  // namespace
}  // namespace memplan
