#include "input/json_lines.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "temporary_folder.h"

namespace memplan {
namespace {

std::string error_of(const std::string& path) {
  try {
    read_json_lines(path, [](const JsonNode& line) { line.at("id"); });
  } catch (const Error& error) {
    return error.where();
  }
  return "none";
}

TEST_CASE("each line is an object; blank lines count but hold none") {
  const TemporaryFolder folder;
  const std::string file = folder.write("a.jsonl", "{\"id\": 1}\n\n  \r\n{\"id\": 2}");
  std::vector<std::string> places;
  read_json_lines(file, [&](const JsonNode& line) { places.push_back(line.at("id").where()); });
  CHECK(places == std::vector<std::string>{file + ":1: /id", file + ":4: /id"});
}

TEST_CASE("errors name file and line") {
  const TemporaryFolder folder;
  const std::string cut = folder.write("cut.jsonl", "{\"id\": 1}\n{\"id\": ");
  CHECK(error_of(cut).starts_with(cut + ":2"));
  const std::string list = folder.write("list.jsonl", "[]\n");
  CHECK(error_of(list) == list + ":1");
  const std::string lacking = folder.write("lacking.jsonl", "{\"it\": 1}\n");
  CHECK(error_of(lacking) == lacking + ":1: /id");
  const std::string blank = folder.write("blank.jsonl", "\n\n");
  CHECK(error_of(blank) == blank);
}

}  // namespace
}  // namespace memplan
