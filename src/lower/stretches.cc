#include "lower/stretches.h"

#include <algorithm>

namespace memplan {
namespace {

constexpr int64_t kLongestPeriod = 12;
constexpr int64_t kWorthwhile = 4;  // rounds: first, last, and more than one between

struct Layer {
  int32_t block;
  int64_t index;
};

// Layers after `at` that repeat the `period` layers before them, in whole rounds.
int64_t rounds(const std::vector<Layer>& layers, size_t at, size_t period) {
  size_t end = at + period;
  while (end < layers.size() && layers[end].block == layers[end - period].block) ++end;
  return static_cast<int64_t>((std::min(end, layers.size()) - at) / period);
}

}  // namespace

std::vector<Stretch> stretches(const std::vector<Run>& runs) {
  std::vector<Layer> layers;
  for (const Run& run : runs)
    for (int64_t i = 0; i < run.count; ++i) layers.push_back({run.block, run.first_layer + i});

  std::vector<Stretch> out;
  const auto append = [&](size_t from, size_t length, int64_t count) {
    Stretch s{{}, count, layers[from].index};
    for (size_t i = 0; i < length; ++i) s.blocks.push_back(layers[from + i].block);
    out.push_back(std::move(s));
  };
  for (size_t at = 0; at < layers.size();) {
    size_t best = 0;
    int64_t covered = 0;
    for (size_t period = 1; period <= kLongestPeriod && at + period <= layers.size(); ++period) {
      const int64_t times = rounds(layers, at, period);
      const int64_t length = times * static_cast<int64_t>(period);
      if (times < kWorthwhile || length <= covered) continue;
      best = period;
      covered = length;
    }
    if (best == 0) {
      append(at++, 1, 1);
      continue;
    }
    const auto end = at + static_cast<size_t>(covered);
    append(at, best, 1);
    append(at + best, best, covered / static_cast<int64_t>(best) - 2);
    append(end - best, best, 1);
    at = end;
  }
  return out;
}

std::vector<Stretch> each(const std::vector<Run>& runs) {
  std::vector<Stretch> out;
  for (const Run& run : runs)
    for (int64_t i = 0; i < run.count; ++i) out.push_back({{run.block}, 1, run.first_layer + i});
  return out;
}

}  // namespace memplan
