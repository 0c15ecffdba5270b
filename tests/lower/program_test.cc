#include "lower/program.h"

#include <doctest/doctest.h>

#include "../cost/jobs.h"
#include "memplan/error.h"

namespace memplan {
namespace {

TEST_CASE("equal layers are one block and one run") {
  const Program program = lower(small_job(1000), 1);
  REQUIRE(program.stages.size() == 1);
  const auto& runs = program.stages[0].runs;
  REQUIRE(runs.size() == 4);  // embedding, layers, head, loss
  CHECK(program.blocks.size() == 4);
  CHECK(runs[1].count == 1000);
  CHECK(program.blocks[static_cast<size_t>(runs[1].block)].part == BlockPart::layer);
}

TEST_CASE("stages split the layers; ends stand on the first and the last") {
  const Program program = lower(on(small_job(7), 3, 1, 3, 3), 1);
  REQUIRE(program.stages.size() == 3);
  CHECK(program.stages[0].runs.size() == 2);
  CHECK(program.stages[1].runs.size() == 1);
  CHECK(program.stages[2].runs.size() == 3);
  CHECK(program.stages[0].runs[1].count + program.stages[1].runs[0].count +
            program.stages[2].runs[0].count ==
        7);
  CHECK(program.stages[2].runs[0].first_layer == 5);
}

TEST_CASE("layers that differ in what they train are told apart, in order") {
  Job job = small_job(6);
  job.strategy.trainable = {Trainable::Kind::last_layers, 2};
  const Program program = lower(job, 1);
  const auto& runs = program.stages[0].runs;
  // Frozen layers 0 to 3; layer 4 trains on an input that needs no gradient; layer 5 on one that
  // does.
  REQUIRE(runs.size() == 6);
  CHECK(runs[1].count == 4);
  CHECK(runs[2].count == 1);
  CHECK(runs[3].count == 1);
}

TEST_CASE("AdapterDrop's first layers are frozen and keep nothing") {
  Job job = small_job(6);
  job.strategy.peft.kind = PeftKind::adapter_drop;
  job.strategy.peft.dropped_layers = 3;
  const Program program = lower(job, 1);
  const Run& first = program.stages[0].runs[1];
  CHECK(first.count == 3);
  for (const Tensor& tensor : program.blocks[static_cast<size_t>(first.block)].graph.tensors)
    CHECK_FALSE(tensor.saved);
}

TEST_CASE("a bare size has stages without runs; forward-only jobs have no loss") {
  const Program bare = lower(bare_job(1000, 1), 1);
  REQUIRE(bare.stages.size() == 1);
  CHECK(bare.stages[0].runs.empty());
  Job job = small_job();
  job.strategy.training = false;
  CHECK(lower(job, 1).stages[0].runs.size() == 3);
}

TEST_CASE("LoRA on a module that the model does not have is an error with the nearest name") {
  Job job = small_job();
  job.strategy.peft.kind = PeftKind::lora;
  job.strategy.peft.targets = {"c_atn"};
  try {
    lower(job, 1);
    FAIL_CHECK("accepted");
  } catch (const Error& error) {
    CHECK(error.where() == "--peft");
    CHECK(error.hint() == "did you mean 'c_attn'?");
  }
}

}  // namespace
}  // namespace memplan
