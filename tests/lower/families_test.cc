// Every parameter of every family against transformers' own modules: reference/parameters.jsonl.
#include "lower/families.h"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "input/hf_config.h"
#include "lower/inventory.h"
#include "memplan/error.h"

using namespace memplan;
using nlohmann::json;

namespace {

using Shapes = std::map<std::string, std::vector<int64_t>>;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE_MESSAGE(in.good(), path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// "a.{0..2,5}.b" stands for a.0.b, a.1.b, a.2.b and a.5.b.
void expand(const std::string& name, const std::vector<int64_t>& shape, Shapes& out) {
  const size_t open = name.find('{'), close = name.find('}');
  if (open == std::string::npos) {
    out[name] = shape;
    return;
  }
  std::string ranges = name.substr(open + 1, close - open - 1) + ",";
  for (size_t at = 0; at < ranges.size();) {
    const size_t comma = ranges.find(',', at);
    const std::string range = ranges.substr(at, comma - at);
    const size_t dots = range.find("..");
    const int first = std::stoi(range);
    const int last = dots == std::string::npos ? first : std::stoi(range.substr(dots + 2));
    for (int i = first; i <= last; ++i) {
      out[name.substr(0, open) + std::to_string(i) + name.substr(close + 1)] = shape;
    }
    at = comma + 1;
  }
}

ModelSpec model_of(const json& record) {
  const json& config = record.at("config");
  if (config.is_object()) return read_hf_config(config.dump(), record.at("id"));
  const std::string file =
      MEMPLAN_SOURCE_DIR "/models/" + config.get<std::string>().substr(1) + ".json";
  return read_hf_config(read_file(file), file);
}

std::string text(const std::vector<int64_t>& shape) { return json(shape).dump(); }

// What is wrong with our parameters, at most three lines of it.
std::string differences(const Shapes& truth, const std::vector<NamedParam>& ours) {
  std::vector<std::string> found;
  Shapes mine;
  for (const NamedParam& p : ours) {
    if (!mine.emplace(p.name, p.shape).second) found.push_back("twice: " + p.name);
    const auto row = truth.find(p.name);
    if (row == truth.end()) {
      found.push_back("not in the model: " + p.name + " " + text(p.shape));
    } else if (row->second != p.shape) {
      found.push_back(p.name + " is " + text(row->second) + ", not " + text(p.shape));
    }
  }
  for (const auto& [name, shape] : truth) {
    if (!mine.contains(name)) found.push_back("missing: " + name + " " + text(shape));
  }
  std::string out;
  for (size_t i = 0; i < found.size() && i < 3; ++i) out += "\n    " + found[i];
  return out;
}

void check_record(const json& record) {
  const std::string id = record.at("id");
  try {
    const ModelSpec model = model_of(record);
    Shapes truth;
    for (const auto& [name, shape] : record.at("tensors").items()) expand(name, shape, truth);
    const std::string wrong = differences(truth, inventory(model));
    CHECK_MESSAGE(wrong.empty(), id, wrong);
    CHECK_MESSAGE(count_parameters(model) == record.at("total").get<int64_t>(), id);
  } catch (const std::exception& error) {
    FAIL_CHECK(id, ": ", std::string(error.what()));
  }
}

}  // namespace

TEST_SUITE("lower/families") {
  TEST_CASE("every parameter has the name and the shape that transformers gives it") {
    std::ifstream lines(MEMPLAN_SOURCE_DIR "/tests/reference/parameters.jsonl");
    std::set<std::string> families;
    for (std::string line; std::getline(lines, line);) {
      const json record = json::parse(line);
      check_record(record);
      if (record.at("config").is_object()) families.insert(record.at("config").at("model_type"));
    }
    for (std::string_view name : family_names()) {
      CHECK_MESSAGE(families.contains(std::string(name)), "no reference of family ", name);
    }
  }

  TEST_CASE("an unknown model_type names the nearest one") {
    ModelSpec model;
    model.family = "lama";
    CHECK_THROWS_WITH_AS(require_family(model), doctest::Contains("llama"), Error);
  }

  TEST_CASE("a model that is far too deep is refused, not built") {
    ModelSpec model;
    model.family = "llama";
    model.layers = int64_t{1} << 40;
    CHECK_THROWS_AS(stacks(model), Error);
  }

  TEST_CASE("a bare size counts as it says and has no names") {
    ModelSpec model;
    model.bare_parameters = 7'500'000'000;
    CHECK(count_parameters(model) == 7'500'000'000);
    CHECK_THROWS_AS(inventory(model), Error);
  }

  TEST_CASE("layers differ where the model says so") {
    ModelSpec model;
    model.family = "mixtral";
    model.layers = 3;
    model.moe.experts = 8;
    model.moe.layer_is_moe = {false, true, false};
    model.layer_is_sliding = {false, false, true};
    const std::vector<Stack> all = stacks(model);
    REQUIRE(all.size() == 1);
    CHECK(all[0].prefix == "model.layers");
    REQUIRE(all[0].layers.size() == 3);
    CHECK(all[0].layers[0] == LayerKind{});
    CHECK(all[0].layers[1] == LayerKind{.moe = true});
    CHECK(all[0].layers[2] == LayerKind{.sliding = true});
  }
}
