#include "cost/megatron_stage.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "jobs.h"
#include "lower/megatron/parameters.h"

namespace memplan {
namespace {

using namespace megatron;  // NOLINT: what is tested

Job small_megatron(int64_t tp) {
  Job job = small_job(2);
  job.model.family = "megatron_gpt";
  job.model.implementation = Implementation::megatron;
  Strategy& s = job.strategy;
  s.framework = Framework::megatron;
  s.tp = tp;
  s.precision = parse_precision("mixed-bf16", "test");
  return padded(job);
}

// A table of words, which is Adam's, and one of positions, which is Muon's; in each of two layers
// linear_qkv, linear_proj, linear_fc1 and linear_fc2 with a bias each, and two norms of two
// vectors; a norm at the end.
TEST_CASE("Muon takes matrices, tables of words apart") {
  const Job job = small_megatron(2);
  const Program program = lower(job, 1);
  const std::vector<OptimizerTensor> tensors = stage_tensors(job, program, 0);
  const auto count = [&](auto wanted) { return std::ranges::count_if(tensors, wanted); };
  CHECK(tensors.size() == 2 + 2 * (8 + 4) + 2);
  CHECK(count([](const OptimizerTensor& t) { return t.muon(); }) == 1 + 2 * 4);
  CHECK(count([](const OptimizerTensor& t) { return t.vector; }) == 2 * 8 + 2);
  // 1024 rows of words over two ranks, 64 columns.
  CHECK(count([](const OptimizerTensor& t) {
          return !t.muon() && !t.vector && t.elements == 512 * 64;
        }) == 1);
  // 4 heads of 16 over two ranks.
  CHECK(count([](const OptimizerTensor& t) {
          return t.rows == 3 * 32 && t.columns == 64 && t.query_rows == 32 && t.key_rows == 32 &&
                 t.query_groups == 2;
        }) == 2);
}

TEST_CASE("tensors and buffers are the same parameters; of a chunk its own alone") {
  const Job job = small_megatron(1);
  const Program program = lower(job, 1);
  int64_t all = 0, chunked = 0;
  for (const OptimizerTensor& t : stage_tensors(job, program, 0)) all += t.elements;
  const std::vector<BufferGroup> groups = stage_parameters(job, program, 0);
  REQUIRE(groups.size() == 2);
  for (int64_t n : groups[0].elements) chunked += n;
  CHECK(all == chunked);
  CHECK(groups[1].elements.empty());
  CHECK(stage_frozen(job, program, 0).elements == 0);

  Chunk second;
  second.layers = {1, 1};
  int64_t one = 0;
  const std::vector<BufferGroup> of_second = stage_parameters(job, program, 0, &second);
  for (int64_t n : of_second[0].elements) one += n;
  // 12h² of weights, biases of 3h, h, 4h and h, two norms of 2h.
  CHECK(one == 12 * 64 * 64 + 9 * 64 + 4 * 64);
}

}  // namespace
}  // namespace memplan
