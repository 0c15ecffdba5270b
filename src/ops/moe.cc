#include "ops/moe.h"

#include "memplan/job.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

// A tensor that holds one matrix (or bias row) per expert.
bool expert_param(Graph& g, std::string name, std::initializer_list<int64_t> shape, Cut cut) {
  Param p = make_param(std::move(name), shape, cut, cut == Cut::replicated ? 1 : g.context.tp);
  p.group = ParamGroup::expert;
  p.expert_parts = g.context.ep;
  return g.param(std::move(p));
}

TensorId grouped(Graph& g, TensorId x, int64_t in, int64_t out, bool trained,
                 std::string_view output) {
  const int64_t copies = g.elements(x) / in;
  // The busiest rank's; what it multiplies beyond the mean, other ranks do not.
  const double flops = 2.0 * static_cast<double>(copies) / g.context.expert_imbalance *
                       static_cast<double>(in) * static_cast<double>(out);
  const TensorId y =
      g.add({.kind = "grouped_linear",
             .name = output,
             .flops = flops,
             .flops_backward = flops * ((g.grad(x) ? 1 : 0) + (trained ? 1 : 0))},
            output, checked_mul(copies, out), g.context.activation, g.grad(x) || trained);
  if (trained) g.save(x);
  return y;
}

void dispatch_comm(Graph& g, TensorId copies) {
  if (g.context.ep == 1) return;
  const Bytes bytes = g.tensors[static_cast<size_t>(copies)].bytes();
  g.comm(Collective::all_to_all, CommGroup::expert_parallel, false, bytes);
  if (g.grad(copies)) g.comm(Collective::all_to_all, CommGroup::expert_parallel, true, bytes);
}

// The rows that the busiest rank receives for those it sends, or the reverse.
TensorId exchange(Graph& g, TensorId rows, std::string_view name, int64_t elements) {
  dispatch_comm(g, rows);
  if (g.context.expert_imbalance == 1) return rows;
  return g.add({.kind = "all_to_all", .name = name}, name, elements, g.context.activation,
               g.grad(rows));
}

}  // namespace

TensorId experts(Graph& g, TensorId x, const Experts& spec) {
  const int64_t tokens = g.elements(x) / spec.width;
  const DType dtype = g.context.activation;

  // Router: logits in the activation type, probabilities in fp32.
  const TensorId logits = linear(g, x,
                                 {.name = spec.router,
                                  .in = spec.width,
                                  .out = spec.count,
                                  .bias = spec.router_bias,
                                  .module = false,
                                  .output = "router logits"});
  const TensorId soft = g.add({.kind = "softmax", .name = "router softmax"}, "router probabilities",
                              checked_mul(tokens, spec.count), DType::f32, g.grad(logits));
  if (g.grad(logits)) g.save(soft);

  // Dispatch: per_token copies of every token, spread over the expert-parallel group.
  const int64_t copies = checked_mul(tokens, spec.per_token);
  const TensorId sent = g.add({.kind = "permute", .name = "dispatch"}, "dispatched tokens",
                              checked_mul(copies, spec.width), dtype, g.grad(x));
  const int64_t busiest = busiest_rows(g.context.expert_imbalance, copies);
  const TensorId in = enter_tensor_parallel(
      g, exchange(g, sent, "received tokens", checked_mul(busiest, spec.width)));

  const int64_t tp = g.context.tp;
  const int64_t ffn = ceil_div(spec.ffn, tp);
  const int64_t e = spec.count, h = spec.width, f = spec.ffn;
  const int64_t widths = spec.gated ? 2 : 1, both = checked_mul(widths, f);
  const std::string up_name = spec.experts + "." + spec.gate_up;
  const std::string down_name = spec.experts + "." + spec.down;
  const bool up_trained = spec.transposed ? expert_param(g, up_name, {e, h, both}, Cut::dim2)
                                          : expert_param(g, up_name, {e, both, h}, Cut::dim1);
  if (spec.bias) expert_param(g, up_name + "_bias", {e, both}, Cut::dim1);
  const bool down_trained = spec.transposed ? expert_param(g, down_name, {e, f, h}, Cut::dim1)
                                            : expert_param(g, down_name, {e, h, f}, Cut::dim2);
  if (spec.bias) expert_param(g, down_name + "_bias", {e, h}, Cut::replicated);

  const TensorId up = grouped(g, in, h, checked_mul(widths, ffn), up_trained, "expert up");
  TensorId middle;
  if (spec.gated) {
    const int64_t half = g.elements(up) / 2;
    const TensorId gate = slice(g, up, "expert gate", half);
    const TensorId value = slice(g, up, "expert value", half);
    middle = multiply(g, activation(g, gate, spec.activation), value, "expert product");
  } else {
    middle = activation(g, up, spec.activation);
  }
  const TensorId down =
      leave_tensor_parallel(g, grouped(g, middle, ffn, h, down_trained, "expert down"));

  // Combine: the copies come home and are weighted by their probability.
  const TensorId home = exchange(g, down, "returned tokens", g.elements(sent));
  const TensorId out = g.add({.kind = "combine", .name = "combine"}, "expert output",
                             checked_mul(tokens, h), dtype, g.grad(home) || g.grad(soft));
  if (g.grad(soft)) g.save(home);
  return out;
}

}  // namespace memplan
