#include "search/variation.h"

#include <algorithm>

#include "memplan/error.h"
#include "memplan/fit.h"

namespace memplan {

std::optional<Plan> try_predict(const Job& job) {
  try {
    return predict(job);
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool surely_fits(const Job& job) {
  const std::optional<Plan> plan = try_predict(job);
  return plan && plan->verdict.fits.value_or(false);
}

void set_data_parallel(Job& job, int64_t dp) {
  Strategy& s = job.strategy;
  const int64_t micro_batches = s.micro_batches();
  s.dp = dp;
  job.cluster.gpus = s.world();
  const int64_t once = checked_mul(s.micro_batch, dp);
  if (s.global_batch % once != 0) s.global_batch = checked_mul(once, micro_batches);
}

std::optional<int64_t> largest(int64_t most, const std::function<bool(int64_t)>& fits) {
  if (most < 1 || !fits(1)) return std::nullopt;
  int64_t good = 1, bad = most + 1;
  while (good * 2 < bad && fits(good * 2)) good *= 2;
  bad = std::min(bad, good * 2);
  while (bad - good > 1) {
    const int64_t middle = good + (bad - good) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  return good;
}

}  // namespace memplan
