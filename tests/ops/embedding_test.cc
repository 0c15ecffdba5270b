#include "ops/embedding.h"

#include <doctest/doctest.h>

#include "probe.h"

namespace memplan {
namespace {

TEST_CASE("a vocabulary table is cut by rows, rounded up, and its result all-reduced") {
  Probe probe;
  probe.context.tp = 4;
  Graph g = probe.graph();
  const TensorId x = embedding(g, {.name = "wte", .rows = 101, .width = 8});
  CHECK(g.elements(x) == 32 * 8);
  CHECK(g.params[0].elements() == 101 * 8);
  CHECK(g.params[0].local_elements() == 26 * 8);
  REQUIRE(g.comms.size() == 1);
  CHECK(g.comms[0].bytes == Bytes(32 * 8 * 2));
  embedding(g, {.name = "wpe", .rows = 16, .width = 8, .vocabulary = false});
  CHECK(g.params[1].local_elements() == 16 * 8);
  CHECK(g.comms.size() == 1);
}

TEST_CASE(
    "a tied head has no parameter of its own but keeps its input; a copy counts in memory only") {
  Probe tied_probe;
  Graph tied = tied_probe.graph();
  vocabulary_head(tied, tied.input("x", 32 * 8, DType::bf16),
                  {.name = "lm_head", .width = 8, .vocab = 100, .tied = true});
  CHECK(tied.params.empty());
  CHECK(held(tied) == 32 * 8 * 2);
  Probe copy_probe;
  Graph copy = copy_probe.graph();
  vocabulary_head(copy, copy.input("x", 32 * 8, DType::bf16),
                  {.name = "lm_head", .width = 8, .vocab = 100, .tied = true, .tied_copy = true});
  REQUIRE(copy.params.size() == 1);
  CHECK(copy.params[0].tied_copy);
  CHECK(copy.params[0].local_elements() == 800);
}

TEST_CASE("cross-entropy keeps the logits in fp32, divided by tensor parallelism") {
  Probe probe;
  probe.context.tp = 2;
  Graph g = probe.graph();
  const TensorId logits = g.input("logits", 32 * 50, DType::bf16);
  cross_entropy(g, logits, 100);
  CHECK(held(g) == 32 * 50 * 4);
  REQUIRE(g.comms.size() == 3);  // largest, sum, target
  for (const Comm& comm : g.comms) CHECK(comm.bytes == Bytes(32 * 4));
}

}  // namespace
}  // namespace memplan
