// Every parameter of every family against transformers' own modules: reference/parameters.jsonl.
#include "lower/families.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
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

// What transformers builds and memplan refuses: a field given twice with two values, or a model
// that cannot run (more experts a token than experts, or none said).
const std::set<std::string> kRefused = {"synthetic/bloom/3",        "synthetic/falcon/14",
                                        "synthetic/gpt_oss/4",      "synthetic/qwen3_moe/11",
                                        "synthetic/deepseek_v3/13", "synthetic/deepseek_v2/0"};

std::vector<json> records() {
  std::ifstream lines(MEMPLAN_SOURCE_DIR "/tests/reference/parameters.jsonl");
  std::vector<json> all;
  for (std::string line; std::getline(lines, line);) all.push_back(json::parse(line));
  REQUIRE(!all.empty());
  return all;
}

void check_record(const json& record) {
  const std::string id = record.at("id");
  if (kRefused.contains(id)) {
    CHECK_THROWS_AS(model_of(record), Error);
    return;
  }
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

// The models that can be read; the first test says which cannot.
std::vector<std::pair<std::string, ModelSpec>> readable_models() {
  std::vector<std::pair<std::string, ModelSpec>> models;
  for (const json& record : records()) {
    try {
      models.emplace_back(record.at("id"), model_of(record));
    } catch (const Error&) {
    }
  }
  return models;
}

struct Cutting {
  int64_t tp = 1;
  bool sequence_parallel = false, training = true;
};

OpContext context(const Cutting& cut) {
  static const PeftSpec no_peft;
  OpContext c;
  c.batch = 2;
  c.sequence = c.full_sequence = 6;
  c.tp = cut.tp;
  c.sequence_parallel = cut.sequence_parallel;
  c.training = cut.training;
  c.peft = &no_peft;
  return c;
}

// Every kind of layer of a model, once.
std::vector<Graph> layer_graphs(const ModelSpec& model, const Cutting& cut) {
  std::vector<LayerKind> kinds;
  std::vector<Graph> out;
  for (const Stack& stack : stacks(model)) {
    for (const LayerKind& kind : stack.layers) {
      if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) continue;
      kinds.push_back(kind);
      out.emplace_back(context(cut));
      build_layer(model, kind, out.back());
    }
  }
  return out;
}

std::vector<Graph> graphs(const ModelSpec& model, const Cutting& cut) {
  std::vector<Graph> out = layer_graphs(model, cut);
  build_embedding(model, out.emplace_back(context(cut)));
  build_bridge(model, out.emplace_back(context(cut)));
  build_head(model, out.emplace_back(context(cut)), false);
  return out;
}

void check_streams(const ModelSpec& model, const Cutting& cut) {
  if (model.heads % cut.tp != 0 || model.kv_heads % cut.tp != 0 || model.ffn % cut.tp != 0 ||
      model.moe.expert_ffn % cut.tp != 0) {
    return;
  }
  for (const Graph& g : layer_graphs(model, cut)) {
    const int64_t stream = g.stream_tokens() * model.hidden;
    CHECK(g.elements(g.ops.back().output) == stream);
    CHECK(g.elements(g.inputs.front()) == stream);
    for (const Param& p : g.params) {
      const int64_t parts = p.cut == Cut::replicated ? 1 : p.parts;
      CHECK_MESSAGE(p.local_elements() * parts == p.elements(), p.name);
    }
  }
  Graph head(context(cut));
  const TensorId logits = build_head(model, head, false);
  if (model.head == ModelHead::none) {
    CHECK(logits == kNoTensor);
  } else if (model.head != ModelHead::sequence_classification) {
    CHECK(head.elements(logits) == head.tokens() * ((model.vocab + cut.tp - 1) / cut.tp));
  }
}

}  // namespace

TEST_SUITE("lower/families") {
  TEST_CASE("every parameter has the name and the shape that transformers gives it") {
    std::set<std::string> families;
    for (const json& record : records()) {
      check_record(record);
      if (record.at("config").is_object()) families.insert(record.at("config").at("model_type"));
    }
    for (std::string_view name : family_names()) {
      if (name.starts_with("megatron_")) continue;  // transformers does not have them
      CHECK_MESSAGE(families.contains(std::string(name)), "no reference of family ", name);
    }
  }

  TEST_CASE("every layer hands on a stream as wide as the one it got, however it is cut") {
    for (const auto& [id, model] : readable_models()) {
      // DeBERTa's output projection takes h whatever the heads are wide; others cannot run.
      if (model.family == "deberta-v2" && model.heads * model.head_dim != model.hidden) continue;
      CAPTURE(id);
      check_streams(model, {.tp = 1});
      check_streams(model, {.tp = 2});
      check_streams(model, {.tp = 2, .sequence_parallel = true});
    }
  }

  TEST_CASE("a forward-only job keeps nothing and sends nothing back") {
    for (const auto& [id, model] : readable_models()) {
      CAPTURE(id);
      for (const Graph& g :
           graphs(model, {.tp = 2, .sequence_parallel = true, .training = false})) {
        CHECK(std::none_of(g.tensors.begin(), g.tensors.end(),
                           [](const Tensor& t) { return t.saved; }));
        CHECK(
            std::none_of(g.comms.begin(), g.comms.end(), [](const Comm& c) { return c.backward; }));
      }
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
