#include "ops/adapter.h"

#include <doctest/doctest.h>

#include "probe.h"

namespace memplan {
namespace {

int64_t added(PeftKind kind, AdapterSite site) {
  Probe probe;
  probe.peft.kind = kind;
  probe.peft.bottleneck = 4;
  Graph g = probe.graph();
  adapter(g, g.input("x", 32 * 8, DType::bf16), 8, site);
  for (const Param& p : g.params) CHECK(p.trainable);
  return parameters(g, true);
}

TEST_CASE("an adapter has 2md + d + m parameters, where its method puts one") {
  constexpr int64_t kOne = 2 * 4 * 8 + 8 + 4;
  CHECK(added(PeftKind::houlsby, AdapterSite::after_attention) == kOne);
  CHECK(added(PeftKind::houlsby, AdapterSite::after_mlp) == kOne);
  CHECK(added(PeftKind::pfeiffer, AdapterSite::after_attention) == 0);
  CHECK(added(PeftKind::pfeiffer, AdapterSite::after_mlp) == kOne);
  CHECK(added(PeftKind::lin, AdapterSite::after_mlp) == kOne + 2 * 8);
  CHECK(added(PeftKind::lora, AdapterSite::after_mlp) == 0);
  CHECK(added(PeftKind::none, AdapterSite::after_mlp) == 0);
}

TEST_CASE("an adapter keeps its input, and the bottleneck before and after the non-linearity") {
  Probe probe;
  probe.peft.kind = PeftKind::pfeiffer;
  probe.peft.bottleneck = 4;
  probe.context.input_requires_grad = false;
  Graph g = probe.graph();
  adapter(g, g.input("x", 32 * 8, DType::bf16), 8, AdapterSite::after_mlp);
  CHECK(held(g) == 32 * (8 + 4 + 4) * 2);
}

TEST_CASE("AdapterDrop leaves its first layers alone") {
  Probe probe;
  probe.peft.kind = PeftKind::adapter_drop;
  probe.context.adapters_here = false;
  Graph g = probe.graph();
  const TensorId x = g.input("x", 32 * 8, DType::bf16);
  CHECK(adapter(g, x, 8, AdapterSite::after_mlp) == x);
}

}  // namespace
}  // namespace memplan
