#include <doctest/doctest.h>

#include <algorithm>

#include "report/validation.h"

namespace memplan {
namespace {

CaseFigure figure(std::string name, FigureValue measured, FigureValue predicted,
                  std::string source = "s") {
  return {"id", std::move(source), std::move(name), std::move(measured), std::move(predicted), ""};
}

ErrorRow row(std::vector<double> errors) { return {"s", "f", 0, std::move(errors)}; }

const ErrorRow& find(const std::vector<ErrorRow>& rows, std::string_view source,
                     std::string_view name) {
  const auto found = std::ranges::find_if(
      rows, [&](const ErrorRow& r) { return r.source == source && r.figure == name; });
  REQUIRE(found != rows.end());
  return *found;
}

TEST_CASE("errors are relative to what was measured") {
  CHECK(relative_error(figure("f", int64_t{200}, int64_t{150})) == -0.25);
  CHECK(relative_error(figure("f", 2.0, int64_t{3})) == 0.5);
  CHECK(relative_error(figure("f", int64_t{0}, int64_t{0})) == 0);
  CHECK(relative_error(figure("f", int64_t{0}, int64_t{5})) == 1);
  CHECK(relative_error(figure("f", std::string("mm"), std::string("mm"))) == 0);
  CHECK(relative_error(figure("f", std::string("mm"), std::string("bmm"))) == 1);
}

TEST_CASE("a difference of one byte is not exact") {
  const int64_t large = int64_t{1} << 62;
  CHECK(relative_error(figure("f", large, large)) == 0);
  CHECK(statistic(row({1e-18}), "exact") == 0);
}

TEST_CASE("statistics of signed errors") {
  const ErrorRow four = row({0.0, -0.1, 0.2, -0.5});
  CHECK(*statistic(four, "mean") == doctest::Approx(0.2));
  CHECK(*statistic(four, "median") == doctest::Approx(0.15));
  CHECK(*statistic(four, "p95") == 0.5);
  CHECK(*statistic(four, "max") == 0.5);
  CHECK(*statistic(four, "bias") == doctest::Approx(-0.1));
  CHECK(*statistic(four, "under") == 0.5);
  CHECK(*statistic(four, "exact") == 0.25);
  CHECK(*statistic(four, "within10%") == 0.5);
  CHECK(*statistic(row({0.1, 0.2, -0.3}), "median") == 0.2);
  CHECK_FALSE(statistic(row({}), "mean"));
}

TEST_CASE("the 95th percentile of 20 is the 19th") {
  std::vector<double> errors;
  for (int i = 1; i <= 20; ++i) errors.push_back(i);
  CHECK(*statistic(row(errors), "p95") == 19);
}

TEST_CASE("names of statistics") {
  CHECK(is_statistic("max"));
  CHECK(is_statistic("within0.1%"));
  CHECK_FALSE(is_statistic("within0.1"));
  CHECK_FALSE(is_statistic("within%"));
  CHECK_FALSE(is_statistic("within-1%"));
  CHECK_FALSE(is_statistic("maximum"));
}

TEST_CASE("rows by source, then over all; refusals count apart") {
  std::vector<CaseFigure> figures = {figure("a", int64_t{10}, int64_t{11}),
                                     figure("a", int64_t{10}, int64_t{8}, "t"),
                                     figure("a", int64_t{10}, int64_t{10}, "t")};
  figures[2].refused = "no such thing";
  const auto rows = error_rows(figures);
  CHECK(rows.size() == 3);
  CHECK(find(rows, "t", "a").cases() == 1);
  CHECK(find(rows, "t", "a").refused == 1);
  CHECK(statistic(find(rows, "t", "a"), "refused") == 0.5);
  CHECK(find(rows, kAllSources, "a").cases() == 2);
  CHECK(find(rows, kAllSources, "a").errors == std::vector<double>{0.1, -0.2});
}

TEST_CASE("the cases whose operator is not the commonest make a row of their own") {
  const std::vector<CaseFigure> figures = {
      figure("peak_at.step", std::string("sqrt"), std::string("sqrt")),
      figure("peak_at.step", std::string("sqrt"), std::string("sqrt")),
      figure("peak_at.step", std::string("mul"), std::string("sqrt"))};
  const auto rows = error_rows(figures);
  CHECK(find(rows, "s", "peak_at.step").cases() == 3);
  CHECK(find(rows, "s", "uncommon_at.step").errors == std::vector<double>{1});
}

}  // namespace
}  // namespace memplan
