// Against the order of named_parameters() in reference/parameters.jsonl.
#include "lower/registration.h"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "input/hf_config.h"
#include "lower/families.h"
#include "memplan/error.h"

namespace memplan {
namespace {

// "model.layers.{0..3}.mlp.up_proj.weight" -> PREFIX "model.layers.", NAME "mlp.up_proj.weight".
bool split_layer(const std::string& whole, const std::string& prefix, std::string& name) {
  if (!whole.starts_with(prefix + ".")) return false;
  const size_t index = prefix.size() + 1;
  const size_t dot = whole.find('.', whole[index] == '{' ? whole.find('}', index) : index);
  name = whole.substr(dot + 1);
  return true;
}

TEST_CASE("layers register their parameters in transformers' order") {
  std::ifstream lines(MEMPLAN_SOURCE_DIR "/tests/reference/parameters.jsonl");
  std::map<std::string, int> checked;
  for (std::string line; std::getline(lines, line);) {
    const auto record = nlohmann::ordered_json::parse(line);
    const std::string id = record.at("id");
    if (!id.starts_with("synthetic/") || !record.at("config").is_object()) continue;
    ModelSpec model;
    try {
      model = read_hf_config(record.at("config").dump(), id);
    } catch (const Error&) {
      continue;
    }
    const std::vector<Stack> all = stacks(model);
    for (const Stack& stack : all) {
      // Layers of several kinds are listed one kind after the other.
      const LayerKind& kind = stack.layers.back();
      if (stack.layers.front().moe != kind.moe) continue;
      std::map<std::string, int> place;
      std::string name;
      for (const auto& [whole, shape] : record.at("tensors").items())
        if (split_layer(whole, stack.prefix, name))
          place.emplace(name, static_cast<int>(place.size()));
      const PeftSpec no_peft;
      OpContext context;
      context.sequence = context.full_sequence = 1;
      context.peft = &no_peft;
      Graph layer(context);
      build_layer(model, kind, layer);
      int last = -1;
      for (size_t i : registration_order(layer, family_row(model))) {
        const auto found = place.find(layer.params[i].name);
        if (found == place.end()) continue;
        CHECK_MESSAGE(found->second > last, id, " ", layer.params[i].name);
        last = found->second;
        ++checked[model.family];
      }
    }
  }
  CHECK(checked.size() >= 25);
}

}  // namespace
}  // namespace memplan
