#include "memplan/error.h"

#include <doctest/doctest.h>

namespace memplan {
namespace {

const std::vector<std::string_view> kNames = {"llama3-8b", "llama3-70b", "h100-80g", "adamw",
                                              "sgd"};

TEST_CASE("a message says where, what and what to do") {
  const Error error(ErrorKind::bad_input, "config.json: /hidden_size", "-4 is no count",
                    "give 1 or more");
  CHECK(std::string(error.what()) == "config.json: /hidden_size: -4 is no count; give 1 or more");
  CHECK(error.exit_code() == 2);
  CHECK(Error(ErrorKind::not_modelled, "", "x").exit_code() == 4);
  CHECK(Error(ErrorKind::device_fault, "", "x").exit_code() == 3);
  CHECK(std::string(Error(ErrorKind::too_large, "", "x").what()) == "x");
}

TEST_CASE("a typo finds its name") {
  CHECK(nearest_name("lama3-8b", kNames) == "llama3-8b");
  CHECK(nearest_name("llama3_8b", kNames) == "llama3-8b");
  CHECK(nearest_name("Llama3-8B", kNames) == "llama3-8b");
  CHECK(nearest_name("adamW", kNames) == "adamw");
  CHECK(nearest_name("sdg", kNames) == "sgd");  // two letters swapped
  CHECK(nearest_name("h100", kNames) == "h100-80g");
  CHECK(nearest_name("h100x", kNames) == "h100-80g");
  CHECK(nearest_name("llama3-405b-instruct", kNames).empty());
}

TEST_CASE("what is no typo finds nothing, however long") {
  CHECK(nearest_name("completely-other", kNames).empty());
  CHECK(nearest_name("", kNames).empty());
  CHECK(nearest_name(std::string(1'000'000, 'a'), kNames).empty());
  CHECK(name_hint("zzzzzzzzz", {"a", "b"}) == "valid: a, b");
}

}  // namespace
}  // namespace memplan
