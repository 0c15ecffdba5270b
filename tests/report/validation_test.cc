#include "report/validation.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

namespace memplan {
namespace {

std::vector<CaseFigure> two_cases() {
  return {
      {"one", "trace fake", "peak.step", int64_t{1000}, int64_t{1010}, ""},
      {"one", "trace fake", "peak_at.step", std::string("a|b"), std::string("c"), ""},
      {"two", "trace fake", "peak.step", int64_t{1000}, {}, "parallel kind 'tp' is not modelled"}};
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

TEST_CASE("the table shows errors in percent, and refusals with their reason") {
  const std::string text = render_validation(two_cases(), {});
  CHECK(has(text, "1.000 %"));
  CHECK(has(text, "parallel kind 'tp' is not modelled"));
  CHECK_FALSE(has(text, "all "));  // the only source is not repeated
  CHECK_FALSE(has(text, "one"));
}

TEST_CASE("cases are listed where asked for") {
  const std::string text = render_validation(two_cases(), {{}, true});
  CHECK(has(text, "one "));
  CHECK(has(text, "1,010"));
  CHECK(has(text, "wrong"));
}

TEST_CASE("no error so small that it looks exact") {
  const std::vector<CaseFigure> near = {
      {"x", "s", "peak.step", int64_t{1'000'000'000}, int64_t{999'999'999}, ""}};
  CHECK(has(render_validation(near, {}), ">-0.001 %"));
}

TEST_CASE("Markdown escapes what would end a cell") {
  CaseFigure bad = two_cases()[2];
  bad.refused = "a|b";
  CHECK(has(render_validation_markdown({bad}), "a\\|b"));
  CHECK(has(render_validation_markdown(two_cases()), "| trace fake | peak.step | 1 | 1 |"));
}

TEST_CASE("JSON holds fractions and every case") {
  const auto json = nlohmann::json::parse(render_validation_json(two_cases()));
  CHECK(json["sources"][0]["max"] == 0.01);
  CHECK(json["sources"][0]["refused"] == 1);
  CHECK(json["cases"].size() == 3);
  CHECK(json["cases"][0]["error"] == 0.01);
  CHECK(json["cases"][1]["predicted"] == "c");
  CHECK(json["cases"][2]["refused"] == "parallel kind 'tp' is not modelled");
  CHECK_FALSE(json["cases"][2].contains("error"));
}

TEST_CASE("without an answered case the table says so") {
  CHECK(has(render_validation({two_cases()[2]}, {}), "no case was predicted"));
}

}  // namespace
}  // namespace memplan
