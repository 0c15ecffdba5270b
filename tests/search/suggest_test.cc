// Suggestions are worded so that they can be added to the command line that asked.
#include "search/suggest.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "../cost/jobs.h"
#include "memplan/fit.h"

namespace memplan {
namespace {

// Does not fit: half the memory that the job needs, on a GPU of which larger ones are known.
Job too_large(std::vector<std::string> options) {
  Job job = on(small_job(), 8);
  job.strategy.sequence = 4096;
  job.strategy.micro_batch = 4;
  job.strategy.global_batch = job.strategy.usual_global_batch();
  job.options = std::move(options);
  job.cluster.gpu.memory = Bytes(predict(job).verdict.expected.count() / 2);
  return job;
}

bool suggests(const std::vector<Suggestion>& found, std::string_view change) {
  return std::ranges::find(found, change, &Suggestion::change) != found.end();
}

TEST_CASE("the samples of a step are named where the default would change them") {
  CHECK(suggests(suggest(too_large({})), "--micro-batch 1 --global-batch 32"));
  CHECK(suggests(suggest(too_large({"--global-batch"})), "--micro-batch 1"));
}

TEST_CASE("--dp on the command line is changed along with what divides it") {
  const auto tensor_parallel = [](const std::vector<Suggestion>& found) {
    const auto at = std::ranges::find_if(
        found, [](const Suggestion& s) { return s.change.starts_with("--tp "); });
    return at == found.end() ? std::string() : at->change;
  };
  const std::string free = tensor_parallel(suggest(too_large({})));
  REQUIRE_FALSE(free.empty());
  CHECK(free.find("--dp") == free.npos);
  CHECK(tensor_parallel(suggest(too_large({"--dp"}))).find(" --dp ") != free.npos);
}

TEST_CASE("other GPUs are named in the option that named these") {
  const auto starts = [](const std::vector<Suggestion>& found, std::string_view text) {
    return std::ranges::any_of(found,
                               [&](const Suggestion& s) { return s.change.starts_with(text); });
  };
  const auto only_hardware = [](std::vector<std::string> options) {
    Job job = too_large(std::move(options));
    job.strategy.training = false;
    job.strategy.attention = AttentionKind::flash;
    job.cluster.gpu.memory = Bytes(1 << 20);
    return suggest(job);
  };
  CHECK(starts(only_hardware({"--gpu"}), "--gpu "));
  CHECK(starts(only_hardware({"--cluster"}), "--cluster "));
  CHECK(starts(only_hardware({"--gpu", "--gpu-memory"}), "--gpu-memory "));
}

}  // namespace
}  // namespace memplan
