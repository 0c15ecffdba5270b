#include "ops/convolution.h"

#include <doctest/doctest.h>

#include "probe.h"

namespace memplan {
namespace {

TEST_CASE("a convolution keeps its input where its weight is trained") {
  Probe g_probe;
  Graph g = g_probe.graph();
  const TensorId x = g.input("x", 32 * 8, DType::bf16);
  const TensorId y = convolution(g, x, {.name = "conv", .width = 8, .groups = 2, .kernel = 3});
  CHECK(g.elements(y) == 32 * 8);
  CHECK(parameters(g) == 8 * 4 * 3 + 8);
  CHECK(held(g) == 32 * 8 * 2);
  CHECK(g.ops.back().flops == 2.0 * 32 * 8 * 4 * 3);
  CHECK(g.ops.back().flops_backward == 2 * g.ops.back().flops);

  Probe frozen;
  frozen.context.block_trainable = false;
  Graph still = frozen.graph();
  convolution(still, still.input("x", 32 * 8, DType::bf16), {.name = "conv", .width = 8});
  CHECK(held(still) == 0);
}

}  // namespace
}  // namespace memplan
