#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "../cost/jobs.h"
#include "memplan/error.h"

namespace memplan {
namespace {

struct Row {
  const char* what;
  std::function<void(Job&)> change;
  const char* option;
  const char* fragment;  // of the message: the nearest value
};

TEST_CASE("an impossible strategy names its option and the nearest possible value") {
  const Row rows[] = {
      {"heads", [](Job& j) { j = on(j, 3, 3); }, "--tp", "nearest that does: 2"},
      {"key-value heads",
       [](Job& j) {
         j.model.heads = 12;
         j.model.kv_heads = 4;
         j = on(j, 6, 6);
       },
       "--tp", "nearest that do: 4"},
      {"stages", [](Job& j) { j = on(j, 5, 1, 5); }, "--pp", "4"},
      {"world",
       [](Job& j) {
         j = on(j, 8, 2);
         j.cluster.gpus = 9;
       },
       "--gpus", "nearest: --gpus 8"},
      {"batch",
       [](Job& j) {
         j = on(j, 4);
         j.strategy.global_batch = 10;
       },
       "--global-batch", "nearest that is: 12"},
      {"interleaving",
       [](Job& j) {
         j = on(j, 2, 1, 2, 3);
         j.strategy.vpp = 2;
       },
       "--vpp", "nearest global batch: 2"},
      {"chunks",
       [](Job& j) {
         j = on(j, 2, 1, 2, 2);
         j.strategy.vpp = 3;
       },
       "--vpp", "nearest"},
      {"vpp alone", [](Job& j) { j.strategy.vpp = 2; }, "--vpp", "--pp"},
      {"context",
       [](Job& j) {
         j.strategy.cp = 3;
         j = on(j, 3);
       },
       "--cp", "nearest that does: 2"},
      {"experts",
       [](Job& j) {
         j = on(j, 2);
         j.strategy.ep = 2;
       },
       "--ep", "no experts"},
      {"expert group",
       [](Job& j) {
         j = on(j, 4);
         j.strategy.ep = 3;
       },
       "--ep", "nearest that does: 2"},
      {"no tp", [](Job& j) { j.strategy.sequence_parallel = true; }, "--sequence-parallel", "--tp"},
      {"tokens",
       [](Job& j) {
         j = on(j, 4, 4);
         j.strategy.sequence_parallel = true;
         j.strategy.sequence = 126;
       },
       "--sequence-parallel", "nearest --seq: 124"},
      {"last layers",
       [](Job& j) {
         j.strategy.trainable = {Trainable::Kind::last_layers, 9};
       },
       "--train", "give 1 to 4"},
      {"zero stage", [](Job& j) { j.strategy.zero = 4; }, "--zero", "0, 1, 2 and 3"},
      {"zero count", [](Job& j) { j.strategy.micro_batch = 0; }, "--micro-batch", "at least 1"},
      {"huge count", [](Job& j) { j.strategy.sequence = int64_t{1} << 50; }, "--seq",
       "out of range"},
      {"huge product", [](Job& j) { j.strategy.tp = j.strategy.cp = int64_t{1} << 40; }, "",
       "63 bits"},
      {"DataParallel",
       [](Job& j) {
         j = on(j, 2);
         j.strategy.zero = 1;
         j.strategy.data_parallel = DataParallelKind::data_parallel;
       },
       "--data-parallel", "ddp"},
      {"infinity", [](Job& j) { j.strategy.offload.parameters = Placement::cpu; }, "--offload",
       "--zero 3"},
      {"inference",
       [](Job& j) {
         j.strategy.training = false;
         j.strategy.offload.optimizer = Placement::cpu;
       },
       "--offload", "no optimizer"},
      {"merged",
       [](Job& j) {
         j.strategy.peft = {.kind = PeftKind::lora,
                            .merged = true,
                            .targets = {},
                            .rank_pattern = {},
                            .modules_to_save = {}};
       },
       "--peft", "--forward-only"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    Job job = small_job();
    try {
      row.change(job);
      predict(job);
      FAIL_CHECK("accepted");
    } catch (const Error& error) {
      CAPTURE(error.what());
      CHECK(error.where() == row.option);
      CHECK(error.exit_code() == 2);
      CHECK(std::string(error.what()).find(row.fragment) != std::string::npos);
    }
  }
}

TEST_CASE("a sequence past the model's positions is a warning, not a refusal") {
  Job job = small_job();
  CHECK(check(job).empty());
  job.strategy.sequence = 256;
  REQUIRE(check(job).size() == 1);
  CHECK(check(job)[0].find("128") != std::string::npos);
}

}  // namespace
}  // namespace memplan
