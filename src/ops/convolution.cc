#include "ops/convolution.h"

#include <algorithm>

#include "ops/linear.h"

namespace memplan {

TensorId convolution(Graph& g, TensorId x, const Convolution& spec) {
  const int64_t fan_in = spec.width / std::max<int64_t>(spec.groups, 1);
  const bool weight = g.param(make_param(spec.name + ".weight", {spec.width, fan_in, spec.kernel}));
  const bool bias = g.param(make_param(spec.name + ".bias", {spec.width}));
  const double flops = 2.0 * static_cast<double>(g.elements(x)) * static_cast<double>(fan_in) *
                       static_cast<double>(spec.kernel);
  const TensorId y =
      g.add({.kind = "convolution",
             .name = "convolution",
             .flops = flops,
             .flops_backward = flops * ((g.grad(x) ? 1 : 0) + (weight ? 1 : 0))},
            "convolution output", g.elements(x), g.dtype(x), g.grad(x) || weight || bias);
  if (weight) g.save(x);
  return y;
}

}  // namespace memplan
