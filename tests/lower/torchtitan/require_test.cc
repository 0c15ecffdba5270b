#include <doctest/doctest.h>

#include "lower/torchtitan/torchtitan.h"
#include "memplan/error.h"
#include "titan_job.h"

namespace memplan::torchtitan {
namespace {

template <typename Change>
void refused(Change change, const char* problem) {
  Job job = titan::job(2);
  change(job);
  CHECK_THROWS_WITH_AS(require_modelled(job), doctest::Contains(problem), Error);
}

TEST_CASE("torchtitan's trainer is refused where it differs") {
  require_modelled(titan::job(2));
  refused([](Job& j) { j.strategy.dp = 1; }, "without fully_shard");
  refused([](Job& j) { j.strategy.fsdp.replicas = 8; }, "without fully_shard");
  refused([](Job& j) { j.model.tie_embeddings = true; }, "tied embeddings");
  refused([](Job& j) { j.model.head_dim = 16; }, "width of heads");
  refused([](Job& j) { j.strategy.torchtitan = {0, 1, 0}; }, "before 0.2.2");
  refused([](Job& j) { j.strategy.optimizer = OptimizerKind::sgd; }, "Adam and AdamW");
  refused([](Job& j) { j.strategy.recompute_every = 2; }, "no layer is checkpointed");
}

TEST_CASE("of 2024, checkpoints stop early and cuDNN's attention is run again") {
  Strategy s = titan::job(2).strategy;
  s.torchtitan = {0, 0, 2};
  s.recompute = Recompute::selective;
  const auto how = checkpointing(s, 0);
  REQUIRE(how);
  CHECK(how->stops_early);
  auto saves = how->saves;
  CHECK(!saves("aten._scaled_dot_product_cudnn_attention.default"));
  CHECK(saves("aten._scaled_dot_product_flash_attention.default"));
  CHECK(release_of(s) == Release::december_2024);
  s.torchtitan = {0, 0, 1};
  CHECK(release_of(s) == Release::march_2024);
  s.torchtitan = {0, 2, 3};
  CHECK(release_of(s) == Release::february_2026);
}

TEST_CASE("every N-th layer is checkpointed, counted from 1") {
  Strategy s = titan::job(2).strategy;
  CHECK(!checkpointing(s, 0));
  s.recompute = Recompute::full;
  CHECK(checkpointing(s, 0));
  s.recompute_every = 2;
  CHECK(!checkpointing(s, 0));
  CHECK(checkpointing(s, 1));
}

TEST_CASE("by operator, every second matrix product is kept") {
  Strategy s = titan::job(2).strategy;
  s.recompute = Recompute::selective;
  const auto how = checkpointing(s, 0);
  REQUIRE(how);
  CHECK(!how->stops_early);
  auto saves = how->saves;
  CHECK(saves("aten.mm.default"));
  CHECK(!saves("aten.mm.default"));
  CHECK(saves("aten._scaled_dot_product_flash_attention.default"));
  CHECK(!saves("aten._scaled_dot_product_flash_attention_for_cpu.default"));
  CHECK(saves("aten.mm.default"));
}

}  // namespace
}  // namespace memplan::torchtitan
