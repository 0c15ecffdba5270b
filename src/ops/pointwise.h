// Norms, activations, dropout and additions: operators that work element by element.
#pragma once

#include <string>

#include "ops/graph.h"

namespace memplan {

/// LayerNorm or RMSNorm over `width` elements. Keeps its input. Parameters NAME.weight [width] and,
/// where `bias`, NAME.bias. `affine` false: no parameters (OLMo, BLOOM-like variants).
struct Norm {
  std::string name;
  int64_t width = 0;
  bool bias = false;
  bool affine = true;
  std::initializer_list<int64_t> shape = {};  ///< of the weight, where it is not [width] (Cohere)
  Cut cut = Cut::replicated;  ///< dim0: one part of the heads a rank (q/k norms over all heads)
  int64_t parts = 0;          ///< parts of the cut; 0: tp
};
TensorId norm(Graph& g, TensorId x, const Norm& spec);

/// "gelu", "gelu_new", "silu", "relu", "tanh"…: smooth ones keep their input; relu, sigmoid and
/// tanh their output. The composite GELUs of some frameworks keep more: a policy's variant, not the
/// textbook's.
TensorId activation(Graph& g, TensorId x, std::string_view kind);

/// a·b: keeps each operand where the other needs a gradient.
TensorId multiply(Graph& g, TensorId a, TensorId b, std::string_view output = "product");

/// x with elements dropped: keeps a mask of 1 byte per element. p = 0 or forward-only: no operator.
TensorId dropout(Graph& g, TensorId x, double p, std::string_view output = "dropout output");

/// a + b: keeps nothing.
TensorId add(Graph& g, TensorId a, TensorId b, std::string_view output = "residual");

}  // namespace memplan
