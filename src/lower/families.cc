#include "lower/families.h"

#include <algorithm>

#include "lower/deberta.h"
#include "lower/ends.h"
#include "lower/family_row.h"
#include "lower/family_table.h"
#include "lower/implementations.h"
#include "lower/layer.h"
#include "lower/megatron/hybrid_blocks.h"
#include "lower/megatron/t5_blocks.h"
#include "lower/t5.h"
#include "memplan/error.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

// Far above any model; below it a list of layers is cheap.
constexpr int64_t kMaxLayers = 1'000'000;

const FamilyRow* find_row(std::string_view name) {
  const auto rows = family_table();
  const auto row =
      std::find_if(rows.begin(), rows.end(), [&](const FamilyRow& r) { return r.name == name; });
  return row == rows.end() ? nullptr : &*row;
}

void require_countable(const ModelSpec& model) {
  if (std::max(model.layers, model.decoder_layers) <= kMaxLayers) return;
  throw Error(ErrorKind::bad_input, model.name,
              "has more than " + format_count(kMaxLayers) + " layers",
              "check the number of layers");
}

std::vector<LayerKind> decoder_kinds(const ModelSpec& model) {
  std::vector<LayerKind> layers(static_cast<size_t>(model.layers));
  const auto flag = [](const std::vector<bool>& flags, size_t i) {
    return i < flags.size() && flags[i];
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::vector<bool>& moe = model.moe.layer_is_moe;
    layers[i].moe = model.moe.experts > 0 && (moe.empty() || flag(moe, i));
    layers[i].sliding = flag(model.layer_is_sliding, i);
  }
  return layers;
}

}  // namespace

std::vector<std::string_view> family_names() {
  std::vector<std::string_view> names;
  for (const FamilyRow& row : family_table()) names.push_back(row.name);
  return names;
}

void require_family(const ModelSpec& model) {
  if (find_row(model.family)) return;
  throw Error(ErrorKind::bad_input, model.source.empty() ? model.name : model.source,
              "memplan does not know the model_type '" + model.family + "'",
              name_hint(model.family, family_names()));
}

FamilyRow family_row(const ModelSpec& model) {
  require_family(model);
  FamilyRow row = *find_row(model.family);
  if (row.adapt) row.adapt(model, row);
  rename_for(model, row);
  return row;
}

std::string base_prefix(const FamilyRow& row, const ModelSpec& model) {
  return model.head == ModelHead::none ? std::string() : std::string(row.base);
}

TensorId row_norm(Graph& g, const FamilyRow& row, std::string name, int64_t width, TensorId x) {
  return norm(g, x,
              {.name = std::move(name),
               .width = width,
               .bias = row.norm == NormKind::layer,
               .affine = row.norm != NormKind::layer_no_parameters});
}

std::vector<Stack> stacks(const ModelSpec& model) {
  require_countable(model);
  const FamilyRow row = family_row(model);
  if (row.form == Form::t5) return t5_stacks(row, model);
  if (row.form == Form::mcore_t5) return megatron::t5_stacks(model);
  if (row.form == Form::mcore_hybrid) return megatron::hybrid_stacks(model);
  return {{base_prefix(row, model) + std::string(row.layers), decoder_kinds(model)}};
}

void build_embedding(const ModelSpec& model, Graph& g) {
  const FamilyRow row = family_row(model);
  switch (row.form) {
    case Form::decoder:
    case Form::mcore_t5:
    case Form::mcore_hybrid:
      return standard_embedding(g, row, model);
    case Form::encoder:
    case Form::deberta:
      return encoder_embedding(g, row, model);
    case Form::t5:
      return t5_embedding(g, row, model);
  }
}

void build_layer(const ModelSpec& model, const LayerKind& kind, Graph& g) {
  const FamilyRow row = family_row(model);
  switch (row.form) {
    case Form::decoder:
    case Form::encoder:
      return standard_layer(g, row, model, kind);
    case Form::deberta:
      return deberta_layer(g, row, model);
    case Form::t5:
      return t5_layer(g, row, model, kind);
    case Form::mcore_t5:
      return megatron::t5_layer(g, row, model, kind);
    case Form::mcore_hybrid:
      return megatron::hybrid_layer(g, row, model, kind);
  }
}

void build_bridge(const ModelSpec& model, Graph& g) {
  const FamilyRow row = family_row(model);
  if (row.form == Form::t5 && model.decoder_layers > 0) t5_bridge(g, row, model);
  if (row.form == Form::mcore_t5) megatron::t5_bridge(g, row, model);
}

TensorId build_head(const ModelSpec& model, Graph& g, bool tied_copy) {
  const FamilyRow row = family_row(model);
  switch (row.form) {
    case Form::decoder:
    case Form::mcore_hybrid:
      return standard_head(g, row, model, tied_copy);
    case Form::encoder:
    case Form::deberta:
      return encoder_head(g, row, model, tied_copy);
    case Form::t5:
      return t5_head(g, row, model, tied_copy);
    case Form::mcore_t5:
      return megatron::t5_head(g, row, model, tied_copy);
  }
  return kNoTensor;
}

}  // namespace memplan
