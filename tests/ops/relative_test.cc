#include "ops/relative.h"

#include <doctest/doctest.h>

#include "probe.h"

namespace memplan {
namespace {

TEST_CASE("a relative bias has a column for each head and keeps a bucket for each pair") {
  Probe probe;
  probe.context.tp = 2;
  Graph g = probe.graph();
  relative_bias(g, {.name = "bias", .buckets = 32, .heads = 4});
  CHECK(parameters(g) == 32 * 4);
  CHECK(g.params[0].local_elements() == 32 * 2);
  CHECK(held(g) == 16 * 16 * 8);
}

TEST_CASE("scores of distances keep content, distances once a sample, and the index") {
  Probe g_probe;
  Graph g = g_probe.graph();
  const TensorId q = g.input("q", 32 * 8, DType::bf16);
  const TensorId positions = g.input("positions", 10 * 8, DType::bf16);
  const TensorId picked = relative_scores(g, q, positions, {.heads = 2, .head_dim = 4, .rows = 10});
  CHECK(g.elements(picked) == 32 * 2 * 16);
  CHECK(held(g) == 2 * (32 * 8) + 2 * (2 * 10 * 8) + 16 * 16 * 8);
  double flops = 0;
  for (const Op& op : g.ops) flops += op.flops;
  CHECK(flops == 2.0 * 32 * 2 * 10 * 4);
}

TEST_CASE("frozen content and distances keep nothing") {
  Probe probe;
  probe.context.input_requires_grad = false;
  Graph g = probe.graph();
  const TensorId q = g.input("q", 32 * 8, DType::bf16);
  relative_scores(g, q, q, {.heads = 2, .head_dim = 4, .rows = 16});
  CHECK(held(g) == 0);
}

}  // namespace
}  // namespace memplan
