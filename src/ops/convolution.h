// Convolution along the sequence.
#pragma once

#include <string>

#include "ops/graph.h"

namespace memplan {

/// y[t] = sum over `kernel` neighbours, channels in `groups`, as many out as in. Keeps x where the
/// weight is trained. Parameters NAME.weight [width, width/groups, kernel], NAME.bias [width].
struct Convolution {
  std::string name;
  int64_t width = 0, groups = 1, kernel = 1;
};
/// x: [stream tokens, width]; returns the same size.
TensorId convolution(Graph& g, TensorId x, const Convolution& spec);

}  // namespace memplan
