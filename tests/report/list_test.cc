#include <doctest/doctest.h>

#include "../report/reports.h"

namespace memplan {
namespace {

TEST_CASE("a row for each value, refusals below, each once") {
  Report report;
  report.varied = {"--tp", "--zero"};
  Plan plan = hand_made();
  plan.step.bubble_fraction = 0.25;
  report.answers.push_back({{"1", "0"}, plan, {}, 0, {}});
  report.answers.push_back({{"3", "0"}, {}, "--tp: 3 is none", 2, {}});
  report.answers.push_back({{"3", "1"}, {}, "--tp: 3 is none", 2, {}});
  const std::string out = render_list(report, {});
  CHECK(out.find("--tp  --zero    states") != out.npos);
  CHECK(out.find("4.00 GiB     3.00 GiB          0  8.00 GiB  2.00 GiB     0  25.0 %  fits\n") !=
        out.npos);
  CHECK(out.find("refused [1]\n[1] --tp: 3 is none\n") != out.npos);
  CHECK(out.find("[2]") == out.npos);
}

TEST_CASE("formats are found by name") {
  CHECK(find_format("json").name == "json");
  CHECK_THROWS_WITH(find_format("jsno"), "'jsno' is not a format; did you mean 'json'?");
}

}  // namespace
}  // namespace memplan
