#include "input/version.h"

#include <doctest/doctest.h>

#include "memplan/error.h"

namespace memplan {
namespace {

TEST_CASE("versions as libraries print them") {
  CHECK(parse_version("2.14.1", "x") == Version{2, 14, 1});
  CHECK(parse_version("2.14.1+cu130", "x") == Version{2, 14, 1});
  CHECK(parse_version("5.12", "x") == Version{5, 12, 0});
  CHECK(parse_version("0.19.2.dev0", "x") == Version{0, 19, 2});
  CHECK(parse_version("2.9.0a0+git12", "x") == Version{2, 9, 0});
  CHECK(parse_version("4.57.0.dev0", "x") == Version{4, 57, 0});
}

TEST_CASE("what is no version") {
  for (const char* text : {"", "2", "2.", "2.x", "-1.2", "2.-1", "v2.1", "2.14.1 beta", "2.14.1.",
                           "99999999999.1", "2.1.1!"})
    CHECK_THROWS_AS(parse_version(text, "--torch-version"), Error);
}

TEST_CASE("a version orders") { CHECK(Version{4, 57, 1} < Version{5, 0, 0}); }

}  // namespace
}  // namespace memplan
