#include <doctest/doctest.h>

#include <string>

#include "memplan/error.h"
#include "memplan/strategy.h"

namespace memplan {
namespace {

template <typename Enum>
void every_name_reads_back() {
  for (const auto& row : names_of<Enum>()) {
    CHECK(parse_name<Enum>(row.name, "x") == row.value);
    // An alias reads as the value; the value has one name.
    CHECK(parse_name<Enum>(to_string(row.value), "x") == row.value);
    CHECK_FALSE(row.meaning.empty());
  }
  CHECK_THROWS_AS(parse_name<Enum>("no-such-name", "x"), Error);
}

TEST_CASE("every choice has a name that reads back") {
  every_name_reads_back<Framework>();
  every_name_reads_back<DataParallelKind>();
  every_name_reads_back<ScheduleKind>();
  every_name_reads_back<OptimizerKind>();
  every_name_reads_back<Recompute>();
  every_name_reads_back<ActivationModel>();
  every_name_reads_back<AttentionKind>();
  every_name_reads_back<Placement>();
  every_name_reads_back<PeftKind>();
  for (const auto& row : precisions()) CHECK(parse_precision(row.name, "x").name == row.name);
}

TEST_CASE("an unknown name says the option and the nearest name; fp8 is refused by name") {
  try {
    parse_name<Recompute>("selectiv", "--recompute");
    FAIL_CHECK("accepted");
  } catch (const Error& error) {
    CHECK(std::string(error.what()) ==
          "--recompute: 'selectiv' is not a known name; did you mean 'selective'?");
  }
  try {
    parse_precision("fp8", "--precision");
    FAIL_CHECK("accepted");
  } catch (const Error& error) {
    CHECK(error.exit_code() == 4);
  }
}

}  // namespace
}  // namespace memplan
