#include "memplan/dtype.h"

#include <doctest/doctest.h>

#include <string>

#include "memplan/error.h"

namespace memplan {
namespace {

TEST_CASE("number formats are read by their usual names and have their width") {
  CHECK(size_of(parse_dtype("bfloat16", "x")) == 2);
  CHECK(size_of(parse_dtype("float32", "x")) == 4);
  CHECK(parse_dtype("half", "x") == DType::f16);
  CHECK(to_string(parse_dtype("fp8", "x")) == "fp8");
  CHECK(size_of(DType::i64) == 8);
  CHECK(size_of(DType::boolean) == 1);
}

TEST_CASE("an unknown number format names its nearest") {
  try {
    parse_dtype("bf61", "--weight-dtype");
    FAIL_CHECK("accepted");
  } catch (const Error& error) {
    CHECK(error.where() == "--weight-dtype");
    CHECK(error.hint().find("bf16") != std::string::npos);
  }
}

}  // namespace
}  // namespace memplan
