#include "schedule/schedules.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "memplan/error.h"

namespace memplan {
namespace {

constexpr Fraction kFivePercent{1, 20};

HeldInFlight held(ScheduleKind kind, PipelineShape shape, int64_t stage) {
  return schedule_row(kind, shape.chunks).in_flight(shape, stage);
}
double bubble(ScheduleKind kind, PipelineShape shape) {
  return schedule_row(kind, shape.chunks).bubble(shape).value();
}

template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// A schedule played by hand: the order of tasks on each stage, and each task as soon as its input
// is there.
struct Task {
  bool backward = false;
  int64_t micro_batch = 0, chunk = 0;
};

// Megatron-core's order: micro-batches go through the chunks in groups of p.
Task task_number(int64_t k, bool backward, const PipelineShape& s) {
  const int64_t in_group = k % (s.stages * s.chunks);
  const int64_t chunk = in_group / s.stages;
  return {backward, k / (s.stages * s.chunks) * s.stages + in_group % s.stages,
          backward ? s.chunks - 1 - chunk : chunk};
}

std::vector<Task> order(const PipelineShape& s, int64_t warm_up) {
  const int64_t total = s.micro_batches * s.chunks;
  std::vector<Task> tasks;
  const int64_t first = std::min(warm_up, total);
  for (int64_t k = 0; k < first; ++k) tasks.push_back(task_number(k, false, s));
  for (int64_t k = first; k < total; ++k) {
    tasks.push_back(task_number(k, false, s));
    tasks.push_back(task_number(k - first, true, s));
  }
  for (int64_t k = total - first; k < total; ++k) tasks.push_back(task_number(k, true, s));
  return tasks;
}

int64_t warm_up_of(const PipelineShape& s, int64_t stage) {
  const int64_t below = s.stages - stage - 1;
  return s.chunks == 1 ? below : 2 * below + (s.chunks - 1) * s.stages;
}

// The highest counts a stage reaches in its order of tasks.
HeldInFlight play_held(const PipelineShape& s, int64_t warm_up) {
  HeldInFlight most{0, 0, 0}, now{0, 0, 0};
  for (const Task& task : order(s, warm_up)) {
    const int64_t step = task.backward ? -1 : 1;
    now.chunks += step;
    if (task.chunk == 0) now.first_chunk += step;
    if (task.chunk == s.chunks - 1) now.last_chunk += step;
    most.chunks = std::max(most.chunks, now.chunks);
    most.first_chunk = std::max(most.first_chunk, now.first_chunk);
    most.last_chunk = std::max(most.last_chunk, now.last_chunk);
  }
  return most;
}

// Time of the whole step; a chunk's forward takes 1, its backward 2.
int64_t play_time(const PipelineShape& s, const std::vector<std::vector<Task>>& stages) {
  std::map<std::tuple<bool, int64_t, int64_t>, int64_t> done;  // backward, micro-batch, position
  const int64_t last = s.stages * s.chunks - 1;
  std::vector<size_t> next(stages.size(), 0);
  std::vector<int64_t> free(stages.size(), 0);
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t r = 0; r < stages.size(); ++r) {
      while (next[r] < stages[r].size()) {
        const Task& task = stages[r][next[r]];
        const int64_t position = task.chunk * s.stages + static_cast<int64_t>(r);
        int64_t ready = 0;
        if (task.backward || position > 0) {
          const auto input = task.backward && position == last
                                 ? std::tuple(false, task.micro_batch, position)
                                 : std::tuple(task.backward, task.micro_batch,
                                              position + (task.backward ? 1 : -1));
          const auto found = done.find(input);
          if (found == done.end()) break;
          ready = found->second;
        }
        free[r] = std::max(free[r], ready) + (task.backward ? 2 : 1);
        done[{task.backward, task.micro_batch, position}] = free[r];
        ++next[r];
        moved = true;
      }
    }
  }
  for (size_t r = 0; r < stages.size(); ++r) REQUIRE(next[r] == stages[r].size());  // no deadlock
  return *std::ranges::max_element(free);
}

double play_bubble(const PipelineShape& s, bool all_forwards_first) {
  std::vector<std::vector<Task>> stages;
  for (int64_t r = 0; r < s.stages; ++r)
    stages.push_back(order(s, all_forwards_first ? s.micro_batches : warm_up_of(s, r)));
  const int64_t time = play_time(s, stages);
  return static_cast<double>(time - 3 * s.chunks * s.micro_batches) / static_cast<double>(time);
}

TEST_SUITE("schedules") {
  TEST_CASE("in flight: 4 stages, 8 micro-batches") {
    CHECK(held(ScheduleKind::naive, {4, 1, 8}, 0).chunks == 1);
    CHECK(held(ScheduleKind::gpipe, {4, 1, 8}, 0).chunks == 8);
    CHECK(held(ScheduleKind::one_f1b, {4, 1, 8}, 0).chunks == 4);
    CHECK(held(ScheduleKind::one_f1b, {4, 1, 8}, 3).chunks == 1);
    CHECK(held(ScheduleKind::one_f1b, {4, 1, 2}, 0).chunks == 2);
    CHECK(held(ScheduleKind::one_f1b, {4, 2, 8}, 0).chunks == 11);  // 2·3 + 4 + 1
    CHECK(held(ScheduleKind::one_f1b, {4, 2, 8}, 3).chunks == 5);   // 0 + 4 + 1
    CHECK(held(ScheduleKind::one_f1b, {4, 2, 4}, 0).chunks == 8);   // never more than m·v
    CHECK(held(ScheduleKind::pipedream, {4, 1, 8}, 1).chunks == 3);
  }

  TEST_CASE("interleaving: stage 0 holds 1 + (p-1)/(pv) times what it holds without") {
    // arXiv 2205.05198, section 4.2.3: in layers, chunks·L/(pv) against p·L/p.
    for (const PipelineShape s : {PipelineShape{8, 3, 64}, {4, 2, 16}, {35, 3, 280}}) {
      const double p = static_cast<double>(s.stages), v = static_cast<double>(s.chunks);
      const double layers = static_cast<double>(held(ScheduleKind::one_f1b, s, 0).chunks) / (p * v);
      CHECK(layers == doctest::Approx(1 + (p - 1) / (p * v)));
    }
  }

  TEST_CASE("in flight agrees with the order of tasks") {
    for (const PipelineShape s : {PipelineShape{1, 1, 3},
                                  {4, 1, 8},
                                  {4, 1, 2},
                                  {4, 2, 8},
                                  {4, 2, 4},
                                  {4, 3, 12},
                                  {2, 4, 6},
                                  {8, 2, 8}}) {
      for (int64_t r = 0; r < s.stages; ++r) {
        CAPTURE(s.stages);
        CAPTURE(s.chunks);
        CAPTURE(s.micro_batches);
        CAPTURE(r);
        const HeldInFlight played = play_held(s, warm_up_of(s, r));
        CHECK(held(ScheduleKind::one_f1b, s, r).chunks == played.chunks);
        if (r == 0) CHECK(held(ScheduleKind::one_f1b, s, r).first_chunk == played.first_chunk);
        if (r == s.stages - 1)
          CHECK(held(ScheduleKind::one_f1b, s, r).last_chunk == played.last_chunk);
      }
      if (s.chunks == 1)
        CHECK(held(ScheduleKind::gpipe, s, 0).chunks == play_held(s, s.micro_batches).chunks);
    }
  }

  TEST_CASE("weight versions: PipeDream stashes p-r on stage r") {
    for (int64_t r = 0; r < 4; ++r) {
      CHECK(schedule_row(ScheduleKind::pipedream, 1).weight_versions({4, 1, 8}, r) == 4 - r);
      CHECK(schedule_row(ScheduleKind::one_f1b, 1).weight_versions({4, 1, 8}, r) == 1);
      CHECK(schedule_row(ScheduleKind::gpipe, 1).weight_versions({4, 1, 8}, r) == 1);
    }
  }

  TEST_CASE("bubbles") {
    CHECK(bubble(ScheduleKind::gpipe, {4, 1, 8}) == doctest::Approx(3.0 / 11));
    CHECK(bubble(ScheduleKind::one_f1b, {4, 1, 8}) == doctest::Approx(3.0 / 11));
    CHECK(bubble(ScheduleKind::one_f1b, {4, 2, 8}) == doctest::Approx(3.0 / 19));
    CHECK(bubble(ScheduleKind::naive, {4, 1, 8}) == doctest::Approx(0.75));
    CHECK(bubble(ScheduleKind::pipedream, {4, 1, 8}) == 0);
    CHECK(bubble(ScheduleKind::one_f1b, {1, 1, 8}) == 0);
  }

  TEST_CASE("bubbles agree with a played step") {
    for (const PipelineShape s : {PipelineShape{1, 1, 3}, {4, 1, 8}, {4, 1, 2}, {3, 1, 7}})
      CHECK(bubble(ScheduleKind::gpipe, s) == doctest::Approx(play_bubble(s, true)));
    for (const PipelineShape s :
         {PipelineShape{4, 1, 8}, {3, 1, 7}, {4, 2, 8}, {4, 3, 12}, {2, 4, 6}})
      CHECK(bubble(ScheduleKind::one_f1b, s) == doctest::Approx(play_bubble(s, false)));
  }

  TEST_CASE("micro-batches for a bubble under 5 %: m > 19(p-1)/v") {
    CHECK(micro_batches_for_bubble(ScheduleKind::gpipe, 4, 1, kFivePercent) == 58);
    CHECK(micro_batches_for_bubble(ScheduleKind::one_f1b, 8, 1, kFivePercent) == 134);
    // 7·19/2 = 66.5: 67, and the next multiple of 8.
    CHECK(micro_batches_for_bubble(ScheduleKind::one_f1b, 8, 2, kFivePercent) == 72);
    CHECK(micro_batches_for_bubble(ScheduleKind::one_f1b, 1, 1, kFivePercent) == 1);
    CHECK(micro_batches_for_bubble(ScheduleKind::pipedream, 8, 1, kFivePercent) == 1);
    CHECK_FALSE(micro_batches_for_bubble(ScheduleKind::naive, 8, 1, kFivePercent).has_value());
    CHECK_FALSE(micro_batches_for_bubble(ScheduleKind::gpipe, 8, 1, {0, 1}).has_value());
  }

  TEST_CASE("the micro-batch size at a fixed batch") {
    // 58 are needed: of 512 samples in powers of two, 64 micro-batches of 8.
    CHECK(micro_batch_for_bubble(ScheduleKind::gpipe, 4, 1, 512, kFivePercent) == 8);
    CHECK(micro_batch_for_bubble(ScheduleKind::gpipe, 4, 1, 58, kFivePercent) == 1);
    CHECK_FALSE(micro_batch_for_bubble(ScheduleKind::gpipe, 4, 1, 57, kFivePercent).has_value());
    // Interleaved, 72 or more and a multiple of 8: of 720 samples, 72 micro-batches of 10.
    CHECK(micro_batch_for_bubble(ScheduleKind::one_f1b, 8, 2, 720, kFivePercent) == 10);
    CHECK_THROWS_AS(
        (void)micro_batch_for_bubble(ScheduleKind::gpipe, 4, 1, int64_t{1} << 62, kFivePercent),
        Error);
  }

  TEST_CASE("layers of a stage: the first stages take the remainder") {
    CHECK(layers_of_stage(10, 4, 1, 0) == std::vector<LayerRange>{{0, 3}});
    CHECK(layers_of_stage(10, 4, 1, 1) == std::vector<LayerRange>{{3, 3}});
    CHECK(layers_of_stage(10, 4, 1, 2) == std::vector<LayerRange>{{6, 2}});
    CHECK(layers_of_stage(10, 4, 1, 3) == std::vector<LayerRange>{{8, 2}});
  }

  TEST_CASE("layers of a stage: chunks go round the stages") {
    CHECK(layers_of_stage(16, 4, 2, 0) == std::vector<LayerRange>{{0, 2}, {8, 2}});
    CHECK(layers_of_stage(16, 4, 2, 3) == std::vector<LayerRange>{{6, 2}, {14, 2}});
  }

  TEST_CASE("every layer is on one stage") {
    for (const auto& [layers, p, v] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
             {1, 1, 1}, {7, 3, 1}, {126, 16, 1}, {96, 8, 3}, {96, 8, 12}}) {
      std::vector<int> seen(static_cast<size_t>(layers), 0);
      for (int64_t r = 0; r < p; ++r)
        for (const LayerRange& range : layers_of_stage(layers, p, v, r))
          for (int64_t i = 0; i < range.count; ++i) ++seen.at(static_cast<size_t>(range.first + i));
      CHECK(std::ranges::all_of(seen, [](int times) { return times == 1; }));
    }
  }

  TEST_CASE("impossible cuts name the nearest possible one") {
    CHECK(message_of([] { (void)layers_of_stage(4, 8, 1, 0); }) ==
          "--pp: 8 stages for 4 layers; the most is --pp 4");
    CHECK(message_of([] { (void)layers_of_stage(32, 5, 2, 0); }) ==
          "--pp: interleaving needs 32 layers to divide evenly among 5 stages; the nearest is --pp "
          "4");
    CHECK(message_of([] { (void)layers_of_stage(32, 4, 3, 0); }) ==
          "--vpp: the 8 layers of a stage do not divide into 3 chunks; the nearest is --vpp 2");
  }

  TEST_CASE("fractions compare exactly") {
    CHECK(Fraction{7, 141} < kFivePercent);
    CHECK_FALSE(Fraction{7, 140} < kFivePercent);
    CHECK_THROWS_AS((void)(Fraction{1, int64_t{1} << 62} < Fraction{4, 5}), Error);
  }
}

TEST_CASE("an interleaved stage's chunks in flight, at the fullest moment for their weights") {
  const PipelineShape shape{2, 2, 4};
  using Counts = std::vector<int64_t>;
  const auto fullest = [&](int64_t first, int64_t second) {
    const int64_t weights[] = {first, second};
    return fullest_chunks(shape, 0, weights);
  };
  // Forwards 0011 0011, backwards 1100: 3+2, then 4+1 held.
  CHECK(fullest(1, 1) == Counts{3, 2});
  CHECK(fullest(10, 1) == Counts{4, 1});
  CHECK(fullest(1, 10) == Counts{3, 2});
  const int64_t equal[] = {7, 7, 7};
  for (int64_t stage = 0; stage < 4; ++stage) {
    const PipelineShape deep{4, 3, 16};
    const Counts counts = fullest_chunks(deep, stage, equal);
    CHECK(counts[0] + counts[1] + counts[2] ==
          schedule_row(ScheduleKind::one_f1b, 3).in_flight(deep, stage).chunks);
  }
}

}  // namespace
}  // namespace memplan
