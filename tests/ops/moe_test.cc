#include "ops/moe.h"

#include <doctest/doctest.h>

#include "probe.h"

namespace memplan {
namespace {

// 32 tokens of width 8, 4 experts of width 16, 2 a token.
Experts small() {
  Experts e;
  e.router = "mlp.gate";
  e.experts = "mlp.experts";
  e.width = 8;
  e.ffn = 16;
  e.count = 4;
  e.per_token = 2;
  return e;
}

TEST_CASE("experts keep the router's softmax, the copies, and four tensors of each expert") {
  Probe g_probe;
  Graph g = g_probe.graph();
  experts(g, g.input("x", 32 * 8, DType::bf16), small());
  const int64_t copies = 32 * 2;
  const int64_t router = 32 * 8 * 2 + 32 * 4 * 4;  // its input, its probabilities in fp32
  const int64_t in = copies * 8 * 2;               // permuted tokens
  const int64_t inside = 4 * copies * 16 * 2;      // gate, its activation, value, product
  const int64_t out = copies * 8 * 2;              // weighted by the probabilities
  CHECK(held(g) == router + in + inside + out);
  CHECK(parameters(g) == 4 * 8 + 4 * (2 * 16 * 8 + 8 * 16));
}

TEST_CASE("expert parallelism divides the experts, not the router, and sends copies both ways") {
  Probe probe;
  probe.context.ep = 4;
  Graph g = probe.graph();
  experts(g, g.input("x", 32 * 8, DType::bf16), small());
  for (const Param& p : g.params) {
    const bool router = p.name == "mlp.gate.weight";
    CHECK(p.group == (router ? ParamGroup::dense : ParamGroup::expert));
    CHECK(p.local_elements() == (router ? p.elements() : p.elements() / 4));
  }
  int forward = 0, backward = 0;
  for (const Comm& comm : g.comms) {
    CHECK(comm.collective == Collective::all_to_all);
    CHECK(comm.bytes == Bytes(32 * 2 * 8 * 2));
    (comm.backward ? backward : forward) += 1;
  }
  CHECK(forward == 2);
  CHECK(backward == 2);
}

TEST_CASE("the busiest rank keeps more rows of its experts, and no more of what comes home") {
  Probe probe;
  probe.context.ep = 4;
  probe.context.expert_imbalance = 1.5;
  Graph g = probe.graph();
  experts(g, g.input("x", 32 * 8, DType::bf16), small());
  const int64_t copies = 32 * 2, busiest = 96;
  const int64_t router = 32 * 8 * 2 + 32 * 4 * 4;
  const int64_t in = busiest * 8 * 2, inside = 4 * busiest * 16 * 2;
  CHECK(held(g) == router + in + inside + copies * 8 * 2);
  // The work of all ranks together stays what it was.
  double flops = 0, even = 0;
  for (const Op& op : g.ops) flops += op.flops;
  probe.context.expert_imbalance = 1;
  Graph balanced = probe.graph();
  experts(balanced, balanced.input("x", 32 * 8, DType::bf16), small());
  for (const Op& op : balanced.ops) even += op.flops;
  CHECK(flops == doctest::Approx(even));
}

TEST_CASE("tensor parallelism cuts each expert's width whichever way its matrices lie") {
  for (const bool transposed : {false, true}) {
    Probe probe;
    probe.context.tp = 2;
    Graph g = probe.graph();
    Experts spec = small();
    spec.transposed = transposed;
    experts(g, g.input("x", 32 * 8, DType::bf16), spec);
    for (const Param& p : g.params)
      if (p.group == ParamGroup::expert) CHECK(p.local_elements() == p.elements() / 2);
  }
}

}  // namespace
}  // namespace memplan
