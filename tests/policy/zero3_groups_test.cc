#include "policy/zero3_groups.h"

#include <doctest/doctest.h>

namespace memplan::deepspeed {
namespace {

TEST_CASE("each parameter is padded to a multiple of the ranks") {
  CHECK(partition_of(10, 4) == 3);
  CHECK(partition_of(8, 4) == 2);
  CHECK(partition_of(1, 4) == 1);
}

TEST_CASE("a sub-group is full with the parameter that reaches its size") {
  CHECK(sub_groups({5, 5, 5}, 100) == std::vector<SubGroup>{{5, 5, 5}});
  CHECK(sub_groups({5, 5, 5}, 6) == std::vector<SubGroup>{{5, 5}, {5}});
  CHECK(sub_groups({5, 5, 5}, 5) == std::vector<SubGroup>{{5}, {5}, {5}});
}

TEST_CASE("a step frees what is gathered, then has one sub-group in fp32 at a time") {
  Strategy s;
  s.precision = parse_precision("mixed-bf16", "");
  const InnerStep inner = [](std::span<const StepParam> shown) {
    return StepPeak{Bytes(4 * shown[0].shape[0]), "aten._foreach_sqrt.default"};
  };
  const std::vector<SubGroup> groups{{100, 50}, {60}};
  const StepPeak peak = zero3_step(groups, s, 0, 0, inner);
  CHECK(peak.transient == Bytes(150 * 4 + 150 * 4));
  CHECK(peak.at == "aten._foreach_sqrt.default");
  CHECK(zero3_step(groups, s, 500, 0, inner).transient == Bytes(1200 - 500));
  // Nothing but the persistent ones comes back.
  CHECK(zero3_step({{1}}, s, 0, 5000, inner).transient == Bytes(5000));
}

}  // namespace
}  // namespace memplan::deepspeed
