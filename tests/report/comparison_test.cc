#include "report/comparison.h"

#include <doctest/doctest.h>

using namespace memplan;

namespace {

ComparedReport report(std::string title, std::vector<LedgerLine> lines) {
  ComparedReport out;
  out.title = std::move(title);
  out.rank.lines = std::move(lines);
  for (const LedgerLine& line : out.rank.lines) out.rank.memory.allocated += line.bytes;
  out.rank.memory.reserved = out.rank.memory.device = out.rank.memory.allocated;
  out.verdict.fits = true;
  out.verdict.capacity = 80 * kGiB;
  return out;
}

LedgerLine line(Holder holder, std::string label, Bytes bytes) {
  return {holder, std::move(label), bytes, "", ""};
}

}  // namespace

TEST_CASE("lines are joined by holder and label, the largest difference first") {
  const auto a = report(
      "a", {line(Holder::gradients, "gradients", 4 * kGiB),
            line(Holder::weights, "weights", 16 * kGiB), line(Holder::gradients, "buckets", kGiB)});
  const auto b = report(
      "b", {line(Holder::weights, "weights", 2 * kGiB), line(Holder::weights, "gathered", kGiB),
            line(Holder::gradients, "gradients", 4 * kGiB),
            line(Holder::weights, "gathered", 2 * kGiB)});
  const Comparison both = compare(a, b);
  REQUIRE(both.lines.size() == 4);
  CHECK(both.lines[0].label == "buckets");
  CHECK(both.lines[0].difference() == Bytes(0) - kGiB);
  CHECK(both.lines[1].label == "gradients");
  CHECK(both.lines[1].difference() == Bytes(0));
  CHECK(both.lines[2].label == "weights");
  CHECK(both.lines[2].difference() == Bytes(0) - 14 * kGiB);
  CHECK(both.lines[3].label == "gathered");  // two lines of one name are one
  CHECK(both.lines[3].b == 3 * kGiB);
}

TEST_CASE("settings that differ, and those of one report alone") {
  auto a = report("a", {}), b = report("b", {});
  a.settings = {{"zero", "2"}, {"tp", "1"}};
  b.settings = {{"tp", "1"}, {"zero", "3"}, {"reduce_dtype", "fp32"}};
  const std::vector<ChangedSetting> changed = compare(a, b).settings;
  REQUIRE(changed.size() == 2);
  CHECK(changed[0].key == "zero");
  CHECK(changed[0].a + changed[0].b == "23");
  CHECK(changed[1].key == "reduce_dtype");
  CHECK(changed[1].a == "-");
}

TEST_CASE("phases and traffic") {
  auto a = report("a", {}), b = report("b", {});
  a.rank.phases = {{"forward", 3 * kGiB, {}, {}, ""}};
  b.rank.phases = {{"forward", 2 * kGiB, {}, {}, ""}, {"backward", kGiB, {}, {}, ""}};
  Traffic row;
  row.group = "data_parallel";
  row.collective = "all_gather";
  row.bytes_sent_per_gpu = kGiB;
  b.communication = {row, row};
  const Comparison both = compare(a, b);
  REQUIRE(both.phases.size() == 2);
  CHECK(both.phases[0].difference() == Bytes(0) - kGiB);
  CHECK(both.phases[1].a == Bytes(0));
  REQUIRE(both.communication.size() == 1);
  CHECK(both.communication[0].difference() == 2 * kGiB);
}

TEST_CASE("the answer says why") {
  const auto a = report("two.json", {line(Holder::weights, "weights", 16 * kGiB)});
  const auto b = report("three.json", {line(Holder::weights, "weights", 2 * kGiB),
                                       line(Holder::transient, "a gathered layer", kGiB)});
  const std::string text = render_comparison(a, b, {});
  CHECK(text.find("B needs 13.00 GiB less than A: -14.00 GiB of weights, +1.00 GiB of a gathered "
                  "layer.") != std::string::npos);
  CHECK(text.find("No setting differs.") != std::string::npos);
  CHECK(render_comparison(a, a, {}).find("A and B need the same.") != std::string::npos);
  CHECK(render_comparison_json(a, b).find("\"difference\": -15032385536") != std::string::npos);
}
