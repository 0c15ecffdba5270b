#include "cost/zero3_steps.h"

#include <algorithm>
#include <string>

#include "cost/collectives.h"
#include "memplan/error.h"

namespace memplan {
namespace {

// A message of one byte an element: what is sent of it are elements.
int64_t elements_sent(Collective collective, int64_t gpus, int64_t elements) {
  return bytes_sent(collective, Algorithm::ring, gpus, Bytes(elements)).bytes.count();
}

}  // namespace

ShardRange shard_of_layer(int64_t elements, int64_t gpus, int64_t gpu) {
  const int64_t shard = ceil_div(elements, gpus);
  const int64_t first = std::min(elements, checked_mul(shard, gpu));
  return {first, std::min(shard, elements - first)};
}

std::vector<Zero3Step> zero3_steps(int64_t layers, int64_t elements, int64_t gpus) {
  constexpr int64_t kMostLayers = 10'000;  // two or three moments each are listed
  require_count(layers, "--layers");
  require_count(elements, "--params");
  require_count(gpus, "--gpus");
  if (layers > kMostLayers)
    throw Error(ErrorKind::bad_input, "--layers",
                std::to_string(layers) + " layers are too many to list",
                "give at most " + std::to_string(kMostLayers));

  const int64_t shard = shard_of_layer(elements, gpus, 0).count;
  std::vector<Zero3Step> steps;
  Zero3Held held;
  held.parameter_shards = checked_mul(shard, layers);
  const auto step = [&](std::string_view phase, int64_t layer, std::string_view action,
                        int64_t sent = 0) {
    steps.push_back({phase, layer, action, held, sent});
  };

  step("forward", -1, "before");
  for (int64_t layer = 0; layer < layers; ++layer) {
    held.gathered = elements;
    step("forward", layer, "all_gather", elements_sent(Collective::all_gather, gpus, elements));
    step("forward", layer, "compute");
    held.gathered = 0;
    step("forward", layer, "free");
  }
  for (int64_t layer = layers - 1; layer >= 0; --layer) {
    held.gathered = elements;
    step("backward", layer, "all_gather", elements_sent(Collective::all_gather, gpus, elements));
    held.unreduced = elements;
    step("backward", layer, "compute");
    held.unreduced = 0;
    held.gradient_shards = checked_add(held.gradient_shards, shard);
    step("backward", layer, "reduce_scatter",
         elements_sent(Collective::reduce_scatter, gpus, elements));
    held.gathered = 0;
    step("backward", layer, "free");
  }
  step("optimizer step", -1, "update");
  held.gradient_shards = 0;
  step("optimizer step", -1, "after");
  return steps;
}

}  // namespace memplan
