// One job, changed: what limits and suggestions try.
#pragma once

#include <functional>
#include <optional>

#include "memplan/plan.h"

namespace memplan {

/// predict(), or nothing where the changed job is impossible or not modelled. Overflowing jobs
/// count as impossible: they certainly do not fit.
std::optional<Plan> try_predict(const Job& job);

/// Whether the job is possible and known to fit.
bool surely_fits(const Job& job);

/// Keeps the samples of one step where they divide, and otherwise the number of micro-batches.
void set_data_parallel(Job& job, int64_t dp);

/// The largest value in [1, most] for which `fits` holds, where it holds for all smaller ones:
/// doubling, then halving the interval. Unset where 1 does not fit.
std::optional<int64_t> largest(int64_t most, const std::function<bool(int64_t)>& fits);

}  // namespace memplan
