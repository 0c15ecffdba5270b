// Frameworks `pytorch` and `huggingface`: DistributedDataParallel around an eager model.
#pragma once

#include "memplan/strategy.h"
#include "memplan/units.h"

namespace memplan::pytorch {

/// DistributedDataParallel's buckets for trained parameters of this many bytes: flat copies of all
/// gradients, made once whatever their number (torch/csrc/distributed/c10d/reducer.cpp,
/// initialize_buckets). Nothing where there is no DDP.
Bytes bucket_bytes(const Strategy& strategy, Bytes trained);

/// Whether a gradient is a view of its bucket (gradient_as_bucket_view).
bool gradient_in_bucket(const Strategy& strategy);

}  // namespace memplan::pytorch
