#include "search/limits.h"

#include <cmath>
#include <numeric>

#include "search/variation.h"

namespace memplan {
namespace {

constexpr int64_t kMostSamples = int64_t{1} << 20;
constexpr int64_t kMostTokens = int64_t{1} << 26;

std::optional<int64_t> largest_micro_batch(const Job& job) {
  const int64_t micro_batches = job.strategy.micro_batches();
  return largest(kMostSamples, [&](int64_t b) {
    Job changed = job;
    changed.strategy.micro_batch = b;
    changed.strategy.global_batch = checked_mul(checked_mul(b, changed.strategy.dp), micro_batches);
    return surely_fits(changed);
  });
}

std::optional<int64_t> longest_sequence(const Job& job) {
  const Strategy& s = job.strategy;
  const int64_t step = checked_mul(s.cp, s.sequence_parallel ? s.tp : 1);
  const auto steps = largest(kMostTokens / step, [&](int64_t n) {
    Job changed = job;
    changed.strategy.sequence = checked_mul(n, step);
    return surely_fits(changed);
  });
  if (!steps) return std::nullopt;
  return *steps * step;
}

std::optional<int64_t> fewest_gpus(const Job& job) {
  // Fewer data-parallel ranks never need less memory each, so the smallest dp that fits lies
  // between the first power of two that fits and the one before.
  const auto fits = [&](int64_t dp) {
    Job changed = job;
    set_data_parallel(changed, dp);
    return surely_fits(changed);
  };
  // dp·cp must stay a multiple of ep.
  const int64_t step = job.strategy.ep / std::gcd(job.strategy.ep, job.strategy.cp);
  int64_t good = 0;
  for (int64_t n = 1; n * step <= (int64_t{1} << 20); n *= 2) {
    if (!fits(n * step)) continue;
    good = n;
    break;
  }
  if (good == 0) return std::nullopt;
  int64_t bad = good / 2;
  while (good - bad > 1) {
    const int64_t middle = bad + (good - bad) / 2;
    (fits(middle * step) ? good : bad) = middle;
  }
  return good * step * job.strategy.world() / job.strategy.dp;
}

// In steps of a hundredth.
std::optional<double> most_imbalanced(const Job& job) {
  if (job.strategy.ep == 1 || job.model.moe.experts == 0) return std::nullopt;
  const double most = most_imbalance(job.model.moe, job.strategy.ep);
  const auto steps = static_cast<int64_t>(std::floor((most - 1) * 100 + 1e-9));
  const auto at = [](int64_t n) { return 1 + static_cast<double>(n - 1) / 100; };
  const auto found = largest(steps + 1, [&](int64_t n) {
    Job changed = job;
    changed.strategy.expert_imbalance = at(n);
    return surely_fits(changed);
  });
  if (!found) return std::nullopt;
  return at(*found);
}

}  // namespace

Limits find_limits(const Job& job) {
  Limits limits;
  if (job.model.bare_parameters) {
    limits.gpus = fewest_gpus(job);
    return limits;
  }
  // Forward-only textbook jobs keep no activations: no batch or sequence is too large.
  if (job.strategy.training) {
    limits.micro_batch = largest_micro_batch(job);
    limits.sequence = longest_sequence(job);
    limits.expert_imbalance = most_imbalanced(job);
  }
  limits.gpus = fewest_gpus(job);
  return limits;
}

}  // namespace memplan
