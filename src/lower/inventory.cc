#include "lower/inventory.h"

#include <algorithm>

#include "lower/families.h"
#include "lower/program.h"
#include "memplan/error.h"

namespace memplan {
namespace {

const PeftSpec kNoPeft;

Graph empty_graph() {
  OpContext context;
  context.sequence = context.full_sequence = 1;
  context.training = false;
  context.peft = &kNoPeft;
  return Graph(context);
}

// One kind of layer of a stack, built once.
struct BuiltLayer {
  LayerKind kind;
  Graph graph;
  int64_t count = 0;
};

// What the model consists of, in forward order.
struct Parts {
  Graph embedding = empty_graph(), bridge = empty_graph(), head = empty_graph();
  std::vector<Stack> stacks;
  std::vector<BuiltLayer> layers;
};

size_t find_layer(const std::vector<BuiltLayer>& layers, const LayerKind& kind) {
  const auto row = std::find_if(layers.begin(), layers.end(),
                                [&](const BuiltLayer& layer) { return layer.kind == kind; });
  return static_cast<size_t>(row - layers.begin());
}

Parts build(const ModelSpec& model) {
  Parts parts;
  parts.stacks = stacks(model);
  build_embedding(model, parts.embedding);
  for (const Stack& stack : parts.stacks) {
    for (const LayerKind& kind : stack.layers) {
      const size_t at = find_layer(parts.layers, kind);
      if (at == parts.layers.size()) {
        parts.layers.push_back({kind, empty_graph()});
        build_layer(model, kind, parts.layers.back().graph);
      }
      ++parts.layers[at].count;
    }
  }
  build_bridge(model, parts.bridge);
  build_head(model, parts.head, false);
  return parts;
}

void list(std::vector<NamedParam>& out, const Graph& graph, const std::string& prefix) {
  for (const Param& p : graph.params) {
    out.push_back({prefix + p.name, {p.shape.begin(), p.shape.begin() + p.dims}});
  }
}

int64_t elements(const Graph& graph) {
  int64_t sum = 0;
  for (const Param& p : graph.params) sum = checked_add(sum, p.elements());
  return sum;
}

}  // namespace

std::vector<NamedParam> inventory(const ModelSpec& model) {
  if (model.bare_parameters) {
    throw Error(ErrorKind::bad_input, model.name, "is a bare size: its parameters have no names",
                "give a config.json or a preset");
  }
  const Parts parts = build(model);
  std::vector<NamedParam> out;
  list(out, parts.embedding, "");
  for (size_t s = 0; s < parts.stacks.size(); ++s) {
    if (s > 0) list(out, parts.bridge, "");
    const Stack& stack = parts.stacks[s];
    for (size_t i = 0; i < stack.layers.size(); ++i) {
      const BuiltLayer& layer = parts.layers[find_layer(parts.layers, stack.layers[i])];
      list(out, layer.graph, stack.prefix + "." + std::to_string(i) + ".");
    }
  }
  list(out, parts.head, "");
  return out;
}

int64_t count_parameters(const ModelSpec& model) {
  if (model.bare_parameters) return *model.bare_parameters;
  const Parts parts = build(model);
  int64_t sum = checked_add(elements(parts.embedding), elements(parts.bridge));
  for (const BuiltLayer& layer : parts.layers) {
    sum = checked_add(sum, checked_mul(elements(layer.graph), layer.count));
  }
  return checked_add(sum, elements(parts.head));
}

ParameterCounts count_job_parameters(const Job& job) { return count_parameters(lower(job, 1)); }

}  // namespace memplan
