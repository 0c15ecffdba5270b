// A graph with one context, for tests of single operators.
#pragma once

#include <optional>

#include "ops/adapter.h"
#include "ops/graph.h"
#include "ops/peft.h"

namespace memplan {

/// Batch 2, sequence 16, 16-bit, one GPU; change what the test needs before building.
struct Probe {
  PeftSpec peft;
  OpContext context;
  std::optional<PeftTargets> targets;
  Probe() {
    context.batch = 2;
    context.sequence = context.full_sequence = 16;
    context.peft = &peft;
  }
  Graph graph() & {  // the graph looks at the probe
    OpContext c = context;
    c.peft = &peft;
    targets.emplace(peft);
    c.targets = &*targets;
    return Graph(c);
  }
};

/// Bytes that stay for backward.
inline int64_t held(const Graph& g) {
  Bytes sum;
  for (const Tensor& tensor : g.tensors)
    if (tensor.saved) sum += tensor.bytes();
  return sum.count();
}

inline int64_t parameters(const Graph& g, bool trainable_only = false) {
  int64_t sum = 0;
  for (const Param& p : g.params)
    if (!trainable_only || p.trainable) sum += p.elements();
  return sum;
}

}  // namespace memplan
