#include "memplan/fit.h"

#include <doctest/doctest.h>

#include "../cost/jobs.h"
#include "search/limits.h"
#include "search/suggest.h"
#include "search/variation.h"

namespace memplan {
namespace {

Job cramped(int64_t mebibytes, int64_t gpus = 1) {
  Job job = on(small_job(), gpus);
  job.cluster.gpu = custom_gpu(Bytes(mebibytes << 20));
  return job;
}

TEST_CASE("the largest of a monotone range") {
  for (int64_t edge : {1, 2, 3, 7, 8, 9, 1000, 1023, 1024})
    CHECK(largest(1024, [&](int64_t n) { return n <= edge; }) == edge);
  CHECK_FALSE(largest(1024, [](int64_t) { return false; }).has_value());
  CHECK_FALSE(largest(0, [](int64_t) { return true; }).has_value());
}

TEST_CASE("limits are tight: one more does not fit") {
  Job job = cramped(700);
  const Limits limits = find_limits(job);
  REQUIRE(limits.micro_batch.has_value());
  const auto fits_batch = [&](int64_t b) {
    Job next = job;
    next.strategy.micro_batch = next.strategy.global_batch = b;
    return surely_fits(next);
  };
  CHECK(fits_batch(*limits.micro_batch));
  CHECK_FALSE(fits_batch(*limits.micro_batch + 1));
  REQUIRE(limits.sequence.has_value());
  const auto fits_sequence = [&](int64_t s) {
    Job next = job;
    next.strategy.sequence = s;
    return surely_fits(next);
  };
  CHECK(fits_sequence(*limits.sequence));
  CHECK_FALSE(fits_sequence(*limits.sequence + 1));
  CHECK_FALSE(limits.expert_imbalance.has_value());  // no experts
}

TEST_CASE("the largest imbalance of experts is tight, and none is larger than there can be") {
  Job job = small_moe(4, 4);  // one of four experts to a rank, two for each token: at most 2
  CHECK(most_imbalance(job.model.moe, 4) == 2);
  CHECK(most_imbalance(job.model.moe, 2) == 2);
  CHECK(most_imbalance(job.model.moe, 1) == 1);
  CHECK(find_limits(job).expert_imbalance == 2.0);
  job.strategy.expert_imbalance = 1.5;
  job.cluster.gpu = custom_gpu(predict(job).verdict.expected);
  const std::optional<double> most = find_limits(job).expert_imbalance;
  REQUIRE(most.has_value());
  CHECK(*most >= 1.5);
  job.strategy.expert_imbalance = *most;
  CHECK(surely_fits(job));
  job.strategy.expert_imbalance = *most + 0.01;
  CHECK_FALSE(surely_fits(job));
  CHECK(busiest_rows(1.5, 3) == 5);
}

TEST_CASE("the fewest GPUs under ZeRO are found exactly") {
  Job job = cramped(1400, 8);
  job.model.vocab = 2'000'000;
  job.strategy.zero = 3;
  job.strategy.sequence = 1;
  const std::optional<int64_t> gpus = find_limits(job).gpus;
  REQUIRE(gpus.has_value());
  const auto fits_on = [&](int64_t n) {
    Job next = job;
    set_data_parallel(next, n);
    return surely_fits(next);
  };
  CHECK(fits_on(*gpus));
  if (*gpus > 1) CHECK_FALSE(fits_on(*gpus - 1));
}

TEST_CASE("the fewest GPUs of experts: dp·cp, not dp, is a multiple of ep") {
  Job job = small_moe(1, 1);
  job.strategy.cp = job.strategy.ep = 4;
  CHECK(find_limits(on(job, 16)).gpus == 4);  // dp 1
  job.strategy.cp = 1;
  CHECK(find_limits(on(job, 16)).gpus == 4);  // dp 4
}

TEST_CASE("every suggestion fits, the cheapest first, and a job that fits gets none") {
  CHECK(fit(small_job()).suggestions.empty());
  Job job = on(small_job(), 4);
  job.strategy.sequence = 4096;
  const Bytes whole = predict(job).verdict.expected;
  // Room for everything but the scores of attention.
  job.cluster.gpu = custom_gpu(Bytes(whole.count() * 6 / 10));
  const Plan plan = fit(job);
  REQUIRE(plan.verdict.fits == false);
  REQUIRE_FALSE(plan.suggestions.empty());
  CHECK(plan.suggestions[0].change == "--attention flash");
  for (const Suggestion& suggestion : plan.suggestions)
    if (!suggestion.change.starts_with("--gpu ")) CHECK(suggestion.device <= plan.verdict.capacity);
}

TEST_CASE(
    "where no single change is enough, several are joined; where nothing helps, none is made up") {
  Job job = on(small_job(), 2);
  job.model.vocab = 8'000'000;
  job.strategy.sequence = 512;
  const Plan whole = predict(job);
  job.cluster.gpu = custom_gpu(Bytes(whole.verdict.expected.count() / 3));
  const std::vector<Suggestion> found = suggest(job);
  REQUIRE_FALSE(found.empty());
  for (const Suggestion& suggestion : found)
    if (suggestion.change.find("--gpu ") == std::string::npos)
      CHECK(suggestion.device <= job.cluster.gpu.memory);
  job.cluster.gpu = custom_gpu(Bytes(1 << 20));
  CHECK(predict(job).verdict.fits == false);
  for (const Suggestion& suggestion : suggest(job)) CHECK(suggestion.change.starts_with("--gpu "));
}

TEST_CASE("changing dp keeps the samples of a step where they divide") {
  Job job = on(small_job(), 4, 1, 1, 3);  // 12 samples
  set_data_parallel(job, 2);
  CHECK(job.strategy.global_batch == 12);
  CHECK(job.cluster.gpus == 2);
  set_data_parallel(job, 8);
  CHECK(job.strategy.global_batch % 8 == 0);
}

}  // namespace
}  // namespace memplan
