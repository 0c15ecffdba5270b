// How many streaming multiprocessors a GPU has: some kernels' buffers are that many rows.
#pragma once

#include <cstdint>

#include "memplan/cluster.h"

namespace memplan {

/// cudaDeviceProp::multiProcessorCount. Throws Error{not_modelled} for a GPU that is not in the
/// table.
int64_t multiprocessors(const GpuSpec& gpu);

}  // namespace memplan
