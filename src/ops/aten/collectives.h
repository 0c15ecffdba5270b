// What DTensor's redistribution runs at the ends of a layer that is cut over ranks
// (torch/distributed/tensor/_api.py from_local, _redistribute.py, 2.14).
#pragma once

#include "ops/aten/tensor.h"

namespace memplan::aten {

/// from_local(x, Replicate()): x itself, whose gradient is a part that is added up over the ranks.
Tensor replicate(const Tensor& x);
/// redistribute(Partial -> Replicate): x added up over the ranks; its gradient is whole already.
Tensor all_reduce(const Tensor& x);

}  // namespace memplan::aten
