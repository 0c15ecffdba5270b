// What an optimizer keeps for one parameter tensor.
#pragma once

#include <span>

#include "memplan/strategy.h"
#include "memplan/units.h"

namespace memplan {

/// Moments of one tensor of this shape, master weights apart. `dtype`: of moments.
///   adamw, adam   2 elements each
///   sgd-momentum, lion   1
///   adafactor     a row and a column sum of the last two dimensions in fp32; vectors keep one
///                 element each (torch/optim/_adafactor.py, 2.14; no first moment)
///   adam8bit      2 bytes and two fp32 scales per 256 elements; tensors below 4096 elements keep
///                 two fp32 moments (bitsandbytes 0.44 and later, optim/optimizer.py)
Bytes optimizer_state(OptimizerKind kind, std::span<const int64_t> shape, DType dtype);

}  // namespace memplan
