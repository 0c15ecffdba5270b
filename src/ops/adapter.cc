#include "ops/adapter.h"

#include <utility>

#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

bool sits_here(const Graph& g, AdapterSite site) {
  if (!g.context.adapters_here) return false;
  switch (g.context.peft->kind) {
    case PeftKind::houlsby:
      return true;
    case PeftKind::pfeiffer:
    case PeftKind::adapter_drop:
    case PeftKind::lin:
      return site == AdapterSite::after_mlp;
    default:
      break;
  }
  return false;
}

// linear() of an adapter's own matrix: trained whatever the rest of the model does.
TensorId adapter_linear(Graph& g, TensorId x, std::string name, int64_t in, int64_t out) {
  const size_t first = g.params.size();
  const TensorId y = linear(g, x,
                            {.name = std::move(name),
                             .in = in,
                             .out = out,
                             .bias = true,
                             .output = "adapter linear output"});
  for (size_t i = first; i < g.params.size(); ++i) g.params[i].adapter = true;
  return y;
}

}  // namespace

TensorId adapter(Graph& g, TensorId x, int64_t width, AdapterSite site) {
  if (!sits_here(g, site)) return x;
  const std::string name =
      site == AdapterSite::after_attention ? "attention_adapter" : "mlp_adapter";
  const int64_t m = g.context.peft->bottleneck;
  const OpContext outside = g.context;
  static const PeftSpec kNoPeft;  // inside the adapter every parameter is the adapter's own
  g.context.peft = &kNoPeft;
  g.context.trainable = Trainable::Kind::all;
  g.context.block_trainable = true;
  TensorId in = x;
  if (outside.peft->kind == PeftKind::lin) {
    const size_t first = g.params.size();
    in = norm(g, x, {.name = name + ".norm", .width = width, .bias = true});
    for (size_t i = first; i < g.params.size(); ++i) g.params[i].adapter = true;
  }
  const TensorId down = adapter_linear(g, in, name + ".down", width, m);
  const TensorId middle = activation(g, down, "gelu");
  const TensorId up = adapter_linear(g, middle, name + ".up", m, width);
  g.context = outside;
  return add(g, x, up, "adapter sum");
}

}  // namespace memplan
