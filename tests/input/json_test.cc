#include "input/json.h"

#include <doctest/doctest.h>

namespace memplan {
namespace {

const char* const kText = R"({"a/b": {"n": 3, "x": 0.5}, "list": [1, "two"], "no": false})";

TEST_CASE("values know where they stand") {
  const JsonDocument document(kText, "f.json");
  const JsonNode root = document.root();
  CHECK(root.where() == "f.json");
  CHECK(root.at("a/b").at("n").where() == "f.json: /a~1b/n");
  CHECK(root.at("list").items()[1].where() == "f.json: /list/1");
  CHECK(root.missing("seq").where() == "f.json: /seq");
  CHECK(root.keys() == std::vector<std::string_view>{"a/b", "list", "no"});
}

TEST_CASE("getters take their own type alone") {
  const JsonDocument document(kText, "f.json");
  const JsonNode root = document.root(), inner = root.at("a/b");
  CHECK(inner.at("n").count() == 3);
  CHECK(inner.at("x").probability() == 0.5);
  CHECK_FALSE(root.at("no").boolean());
  CHECK(root.at("no").is_false());
  CHECK_THROWS_AS(inner.at("x").count(), Error);
  CHECK_THROWS_AS(inner.at("n").text(), Error);
  CHECK_THROWS_AS(root.at("list").texts(), Error);
  CHECK_THROWS_AS(inner.at("n").count(4, 10), Error);
  CHECK_THROWS_AS(inner.at("n").count(1, 2), Error);
}

TEST_CASE("an absent key names the one most like it") {
  const JsonDocument document(R"({"hidden_size": 1})", "f.json");
  CHECK_THROWS_WITH_AS(document.root().at("hiden_size"), doctest::Contains("'hidden_size'"), Error);
  CHECK_FALSE(document.root().find("layers").has_value());
}

TEST_CASE("nodes outlive a move of their document") {
  JsonDocument first(kText, "f.json");
  const JsonNode node = first.root().at("list");
  const JsonDocument second = std::move(first);
  CHECK(node.where() == "f.json: /list");
  CHECK(node.items().size() == 2);
}

}  // namespace
}  // namespace memplan
