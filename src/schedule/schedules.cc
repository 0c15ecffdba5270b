#include "schedule/schedules.h"

#include <algorithm>
#include <array>
#include <string>

#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {
namespace {

HeldInFlight all(int64_t micro_batches) { return {micro_batches, micro_batches, micro_batches}; }

HeldInFlight naive_in_flight(const PipelineShape&, int64_t) { return all(1); }
HeldInFlight gpipe_in_flight(const PipelineShape& s, int64_t) { return all(s.micro_batches); }

// p - r - 1 warm-up forwards and the one whose backward comes first.
HeldInFlight one_f1b_in_flight(const PipelineShape& s, int64_t stage) {
  return all(std::min(s.stages - stage, s.micro_batches));
}

HeldInFlight interleaved_in_flight(const PipelineShape& s, int64_t stage) {
  const int64_t warm_up =
      checked_add(checked_mul(2, s.stages - stage - 1), checked_mul(s.chunks - 1, s.stages));
  HeldInFlight held;
  held.chunks = std::min(checked_add(warm_up, 1), checked_mul(s.micro_batches, s.chunks));
  // Forwards go p micro-batches through chunk 0, the same through chunk 1, …: after chunk v - 1
  // the next p enter chunk 0 before the first p come back to it.
  held.first_chunk = std::min(checked_mul(2, s.stages), s.micro_batches);
  held.last_chunk = 1;  // turned round at once
  return held;
}

// No flush: the pipeline stays full across steps.
HeldInFlight pipedream_in_flight(const PipelineShape& s, int64_t stage) {
  return all(s.stages - stage);
}

int64_t one_version(const PipelineShape&, int64_t) { return 1; }
int64_t stashed_versions(const PipelineShape& s, int64_t stage) { return s.stages - stage; }

Fraction naive_bubble(const PipelineShape& s) { return {s.stages - 1, s.stages}; }
Fraction flush_bubble(const PipelineShape& s) {
  const int64_t idle = s.stages - 1;  // in units of one chunk's forward and backward
  return {idle, checked_add(checked_mul(s.chunks, s.micro_batches), idle)};
}
Fraction no_bubble(const PipelineShape&) { return {0, 1}; }

constexpr std::array<ScheduleRow, 5> kRows = {{
    {ScheduleKind::naive, naive_in_flight, one_version, naive_bubble, "1", "1", "(p-1)/p",
     "1 of p stages works at any time"},
    {ScheduleKind::gpipe, gpipe_in_flight, one_version, flush_bubble, "m", "1", "(p-1)/(m+p-1)",
     "GPipe, arXiv 1811.06965, section 2.3"},
    {ScheduleKind::one_f1b, one_f1b_in_flight, one_version, flush_bubble, "min(p-r, m)", "1",
     "(p-1)/(m+p-1)",
     "PipeDream-flush, arXiv 2006.09503, section 3.1; Megatron-core schedules.py, "
     "forward_backward_pipelining_without_interleaving"},
    {ScheduleKind::one_f1b, interleaved_in_flight, one_version, flush_bubble,
     "min(2(p-r-1)+(v-1)p+1, mv) chunks of L/(pv) layers", "1", "(p-1)/(vm+p-1)",
     "arXiv 2104.04473, section 2.2; Megatron-core schedules.py, get_pp_rank_microbatches"},
    {ScheduleKind::pipedream, pipedream_in_flight, stashed_versions, no_bubble, "p-r", "p-r",
     "0 once the pipeline is full", "PipeDream, arXiv 1806.03377, section 3.3: weight stashing"},
}};
constexpr size_t kInterleaved = 3;

std::string text(int64_t number) { return std::to_string(number); }

template <typename Visit>
void each_divisor(int64_t number, Visit visit) {
  for (int64_t divisor = 1; divisor <= number / divisor; ++divisor) {
    if (number % divisor != 0) continue;
    visit(divisor);
    visit(number / divisor);
  }
}

}  // namespace

bool operator<(Fraction a, Fraction b) {
  return checked_mul(a.numerator, b.denominator) < checked_mul(b.numerator, a.denominator);
}

const ScheduleRow& schedule_row(ScheduleKind kind, int64_t chunks) {
  if (kind == ScheduleKind::one_f1b && chunks > 1) return kRows[kInterleaved];
  return *std::ranges::find(kRows, kind, &ScheduleRow::kind);
}

std::vector<int64_t> fullest_chunks(const PipelineShape& shape, int64_t stage,
                                    std::span<const int64_t> weights) {
  const int64_t p = shape.stages, v = shape.chunks;
  const int64_t period = checked_mul(p, v), all = checked_mul(shape.micro_batches, v);
  const int64_t held = interleaved_in_flight(shape, stage).chunks;
  const auto chunk_of = [&](int64_t pass) { return static_cast<size_t>(pass % period / p); };

  std::vector<int64_t> counts(static_cast<size_t>(v)), fullest;
  int64_t most = -1;
  // One period after the warm-up every count has come round again.
  for (int64_t pass = 0; pass < std::min(all, checked_add(held, period)); ++pass) {
    ++counts[chunk_of(pass)];
    if (pass >= held) --counts[static_cast<size_t>(v) - 1 - chunk_of(pass - held)];
    int64_t sum = 0;
    for (size_t i = 0; i < counts.size(); ++i)
      sum = checked_add(sum, checked_mul(counts[i], weights[i]));
    if (sum <= most) continue;
    most = sum;
    fullest = counts;
  }
  return fullest;
}

std::vector<LayerRange> layers_of_stage(int64_t layers, int64_t stages, int64_t chunks,
                                        int64_t stage) {
  if (stages > layers)
    throw Error(ErrorKind::bad_input, "--pp",
                text(stages) + " stages for " + text(layers) + " layers",
                "the most is --pp " + text(layers));
  if (chunks == 1) {
    const int64_t even = layers / stages, rest = layers % stages;
    return {{stage * even + std::min(stage, rest), even + (stage < rest ? 1 : 0)}};
  }
  if (layers % stages != 0)
    throw Error(ErrorKind::bad_input, "--pp",
                "interleaving needs " + text(layers) + " layers to divide evenly among " +
                    text(stages) + " stages",
                "the nearest is --pp " + text(nearest_divisor(layers, stages)));
  const int64_t per_stage = layers / stages;
  if (per_stage % chunks != 0)
    throw Error(ErrorKind::bad_input, "--vpp",
                "the " + text(per_stage) + " layers of a stage do not divide into " + text(chunks) +
                    " chunks",
                "the nearest is --vpp " + text(nearest_divisor(per_stage, chunks)));
  const int64_t count = per_stage / chunks;
  std::vector<LayerRange> ranges;
  for (int64_t chunk = 0; chunk < chunks; ++chunk)
    ranges.push_back({(chunk * stages + stage) * count, count});
  return ranges;
}

std::optional<int64_t> micro_batches_for_bubble(ScheduleKind kind, int64_t stages, int64_t chunks,
                                                Fraction limit) {
  const ScheduleRow& row = schedule_row(kind, chunks);
  const int64_t unit = chunks > 1 ? stages : 1;
  const auto enough = [&](int64_t units) {
    return row.bubble({stages, chunks, checked_mul(units, unit)}) < limit;
  };
  // The bubble never grows with m: double, then halve.
  constexpr int64_t kMost = int64_t{1} << 30;  // more micro-batches than anybody runs in a step
  int64_t above = 1;
  while (!enough(above)) {
    if (above >= kMost) return std::nullopt;
    above *= 2;
  }
  int64_t below = above / 2;
  while (above - below > 1) {
    const int64_t middle = below + (above - below) / 2;
    (enough(middle) ? above : below) = middle;
  }
  return checked_mul(above, unit);
}

std::optional<int64_t> micro_batch_for_bubble(ScheduleKind kind, int64_t stages, int64_t chunks,
                                              int64_t batch, Fraction limit) {
  const auto needed = micro_batches_for_bubble(kind, stages, chunks, limit);
  if (!needed) return std::nullopt;
  if (batch > kMaxCount)  // the search takes its square root of steps
    throw Error(ErrorKind::too_large, "--global-batch",
                text(batch) + " samples a replica are more than a step can have");
  const int64_t unit = chunks > 1 ? stages : 1;
  std::optional<int64_t> best;
  each_divisor(batch, [&](int64_t micro_batch) {
    const int64_t m = batch / micro_batch;
    if (m >= *needed && m % unit == 0) best = std::max(best.value_or(0), micro_batch);
  });
  return best;
}

}  // namespace memplan
