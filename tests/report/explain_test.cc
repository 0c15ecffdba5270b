#include <doctest/doctest.h>

#include "../report/reports.h"

namespace memplan {
namespace {

std::string explained(const Plan& plan, std::vector<Origin> origins = {}) {
  return render_explanation({{}, plan, {}, 0, std::move(origins)}, {});
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

TEST_CASE("every line with its formula, every source once") {
  const std::string out = explained(hand_made());
  CHECK(has(out, "Memory of the GPU, at its peak in forward"));
  CHECK(has(out, "weights      weights      4.00 GiB  a × b\n"));
  CHECK(has(out, "outside      context      1.00 GiB\n"));
  CHECK(has(out, "a paper"));
  CHECK(has(out, "a measurement"));
}

TEST_CASE("lines that do not sum to the total are told") {
  Plan plan = hand_made();
  CHECK_FALSE(has(explained(plan), "do not sum"));
  plan.ranks[0].lines.pop_back();
  CHECK(has(explained(plan), "do not sum"));
}

TEST_CASE("the ledger of a real job sums to what is allocated") {
  for (int zero : {0, 1, 2, 3}) {
    Job job = on(small_job(), 4, 1, 2, 4);
    job.strategy.zero = zero;
    job.explain = true;
    CAPTURE(zero);
    CHECK_FALSE(has(explained(fit(job)), "do not sum"));
  }
}

TEST_CASE("settings tell where they come from") {
  const std::string out = explained(hand_made(), {{"tp", "job.json"}, {"model", "command line"}});
  CHECK(has(out, "  model              small-gpt    command line\n"));
  CHECK(has(out, "  tp                 1            job.json\n"));
  CHECK(has(out, "  pp                 1            default\n"));
}

}  // namespace
}  // namespace memplan
