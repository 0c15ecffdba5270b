#include "cost/zero3_steps.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "cost/states.h"
#include "cost/walk.h"
#include "memplan/error.h"

namespace memplan {
namespace {

// The same stack as the engine sees it: `layers` equal blocks of one vector each.
struct Stack {
  Job job;
  FoldedProgram folded;

  Stack(int64_t layers, int64_t elements, int64_t gpus) {
    Strategy& s = job.strategy;
    s.dp = gpus;
    s.zero = 3;
    s.global_batch = gpus;
    s.sequence = 1;
    OpContext context;
    context.batch = context.sequence = context.full_sequence = 1;
    context.peft = &s.peft;
    Graph layer(context);
    layer.input("layer input", 1, DType::bf16);
    Param weight;
    weight.name = "weight";
    weight.shape = {elements};
    weight.dims = 1;
    layer.param(weight);
    folded.summaries.push_back(summarize(layer, s, true));
    folded.program.blocks.push_back({BlockPart::layer, "layer", layer});
    folded.program.stages.push_back({{{0, 0, layers}}});
  }

  // Highest transient bytes of a phase.
  Bytes transient(std::string_view phase) const {
    for (const Moment& moment : walk(job, folded, 0, {}, true))
      if (moment.phase == phase) return moment.transient;
    return Bytes(-1);
  }
};

int64_t highest(const std::vector<Zero3Step>& steps, std::string_view phase) {
  int64_t most = 0;
  for (const Zero3Step& step : steps)
    if (step.phase == phase) most = std::max(most, step.held.gathered + step.held.unreduced);
  return most;
}

TEST_CASE("three layers of four parameters on four GPUs, by pencil") {
  const std::vector<Zero3Step> steps = zero3_steps(3, 4, 4);
  REQUIRE(steps.size() == 1 + 3 * 3 + 3 * 4 + 2);
  // Before: one parameter of each layer. During: the whole of one more. After: as before.
  CHECK(steps[0].held.total() == 3);
  CHECK(steps[2].action == "compute");
  CHECK(steps[2].held.total() == 3 + 4);
  CHECK(steps[3].held.total() == 3);
  // Backward of the last layer: its parameters and its gradients, whole.
  CHECK(steps[11].phase == "backward");
  CHECK(steps[11].layer == 2);
  CHECK(steps[11].held.total() == 3 + 4 + 4);
  CHECK(steps[13].held.total() == 3 + 1);
  CHECK(steps.back().held.total() == 3);
  // 3/4 of 3Ψ is sent: two gathers and one reduce-scatter of each layer.
  int64_t sent = 0;
  for (const Zero3Step& step : steps) sent += step.sent;
  CHECK(sent == 3 * 12 * 3 / 4);
}

TEST_CASE("the walk by hand and the engine hold the same") {
  for (const auto& [layers, elements, gpus] :
       {std::array<int64_t, 3>{3, 4, 4}, {1, 8, 2}, {7, 12, 4}, {2, 4096, 64}}) {
    CAPTURE(layers);
    CAPTURE(elements);
    CAPTURE(gpus);
    const Stack stack(layers, elements, gpus);
    const auto steps = zero3_steps(layers, elements, gpus);
    const RankStates states =
        rank_states(stack.folded.summaries[0].dense * layers, {}, 1, stack.job);
    const Precision& p = stack.job.strategy.precision;
    CHECK(states.gpu.weights.count() == steps[0].held.parameter_shards * size_of(p.weight));
    CHECK(states.gpu.gradients.count() ==
          steps[steps.size() - 2].held.gradient_shards * size_of(p.gradient));
    CHECK(stack.transient("forward").count() == highest(steps, "forward") * size_of(p.weight));
    CHECK(stack.transient("backward").count() == highest(steps, "backward") * size_of(p.weight));
  }
}

TEST_CASE("shards cover a layer without overlap") {
  for (const int64_t elements : {1, 4, 5, 7, 64})
    for (const int64_t gpus : {1, 2, 4, 7}) {
      int64_t next = 0;
      for (int64_t gpu = 0; gpu < gpus; ++gpu) {
        const ShardRange range = shard_of_layer(elements, gpus, gpu);
        CHECK(range.first == std::min(next, elements));
        next = range.first + range.count;
      }
      CHECK(next == elements);
    }
}

TEST_CASE("counts that are none are refused") {
  CHECK_THROWS_AS(zero3_steps(0, 4, 4), Error);
  CHECK_THROWS_AS(zero3_steps(3, -1, 4), Error);
  CHECK_THROWS_AS(zero3_steps(3, 4, int64_t{1} << 62), Error);
  CHECK_THROWS_AS(zero3_steps(1'000'000, 4, 4), Error);
}

}  // namespace
}  // namespace memplan
