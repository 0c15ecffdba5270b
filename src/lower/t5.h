// T5: two stacks, one embedding, biases of attention by distance in each stack's first layer.
#pragma once

#include "lower/families.h"
#include "lower/family_row.h"

namespace memplan {

std::vector<Stack> t5_stacks(const FamilyRow& row, const ModelSpec& model);
void t5_embedding(Graph& g, const FamilyRow& row, const ModelSpec& model);
void t5_layer(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind);
void t5_bridge(Graph& g, const FamilyRow& row, const ModelSpec& model);
TensorId t5_head(Graph& g, const FamilyRow& row, const ModelSpec& model, bool tied_copy);

}  // namespace memplan
