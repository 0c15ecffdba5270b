// A layer: sub-layers with their norms, dropouts and adapters on the residual stream.
#pragma once

#include "lower/families.h"
#include "lower/family_row.h"
#include "ops/adapter.h"

namespace memplan {

/// Where a sub-layer stands in its layer.
struct Sublayer {
  std::string_view before = {}, after = {};  ///< norms; empty: none
  AdapterSite site = AdapterSite::after_attention;
  bool adapters = true;  ///< false: no adapter site
  bool dropout = true;
};
Sublayer attention_sublayer(const FamilyRow& row);
Sublayer mlp_sublayer(const FamilyRow& row);

/// The tensor that enters a layer: [stream tokens, h].
TensorId layer_input(Graph& g, const ModelSpec& model, std::string_view name = "layer input");

/// What the sub-layer reads: the stream, normalised where a norm comes before.
TensorId open_sublayer(Graph& g, const FamilyRow& row, const ModelSpec& model,
                       const Sublayer& place, TensorId x);
/// The stream after the sub-layer's output `y` has joined it: dropout, adapter, residual, norm.
TensorId close_sublayer(Graph& g, const FamilyRow& row, const ModelSpec& model,
                        const Sublayer& place, TensorId x, TensorId y);

/// The layer of a decoder-only model or of BERT.
void standard_layer(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind);

}  // namespace memplan
