#include "cost/summary.h"

#include "ops/optimizer.h"

namespace memplan {
namespace {

void add_param(const Param& p, const Strategy& s, GroupSummary& group) {
  const int64_t elements = p.local_elements();
  group.elements = checked_add(group.elements, elements);
  if (!p.trainable) return;
  group.trainable = checked_add(group.trainable, elements);
  const auto shape = p.local_shape();
  group.moments += optimizer_state(
      s.optimizer, std::span(shape.data(), static_cast<size_t>(p.dims)), s.precision.optimizer);
}

}  // namespace

GroupSummary& GroupSummary::operator+=(const GroupSummary& other) {
  elements = checked_add(elements, other.elements);
  trainable = checked_add(trainable, other.trainable);
  moments += other.moments;
  return *this;
}

GroupSummary GroupSummary::operator*(int64_t times) const {
  return {checked_mul(elements, times), checked_mul(trainable, times), moments * times};
}

BlockSummary summarize(const Graph& graph, const Strategy& strategy, bool checkpointed) {
  BlockSummary out;
  for (const Param& p : graph.params)
    add_param(p, strategy, p.group == ParamGroup::dense ? out.dense : out.expert);

  Bytes recomputable;
  for (const Tensor& tensor : graph.tensors) {
    if (!tensor.saved) continue;
    out.held += tensor.bytes();
    if (tensor.recomputable) recomputable += tensor.bytes();
  }
  double core = 0, executed = 0;
  for (const Op& op : graph.ops) {
    executed += op.flops;
    out.flops += op.share * op.flops;
    out.flops_backward += op.share * op.flops_backward;
    out.flops_again += op.flops_rerun + (1 - op.share) * (op.flops + op.flops_backward);
    if (op.recomputable) core += op.flops;
  }

  const Recompute recompute = checkpointed ? strategy.recompute : Recompute::none;
  out.kept = out.held;
  if (out.held == Bytes(0)) return out;  // nothing is differentiated here
  if (recompute == Recompute::selective) {
    out.kept = out.held - recomputable;
    out.again = recomputable;
    out.flops_again += core;
  } else if (recompute == Recompute::full) {
    Bytes inputs, inputs_held;
    for (TensorId id : graph.inputs) {
      const Tensor& tensor = graph.tensors[static_cast<size_t>(id)];
      inputs += tensor.bytes();
      if (tensor.saved) inputs_held += tensor.bytes();
    }
    out.kept = inputs;
    out.again = out.held - inputs_held;
    out.flops_again += executed;
  }
  return out;
}

}  // namespace memplan
