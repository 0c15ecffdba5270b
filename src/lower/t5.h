// T5: two stacks, one embedding, biases of attention by distance in each stack's first layer.
#pragma once

#include <string>
#include <vector>

#include "lower/families.h"
#include "lower/family_row.h"

namespace memplan {

/// Names of a layer's parts, and what stands before those of the whole model.
const AttentionRow& t5_attention_row(bool cross);
const MlpRow& t5_mlp_row(const ModelSpec& model, bool decoder);
std::string t5_prefix(const FamilyRow& row, const ModelSpec& model);

std::vector<Stack> t5_stacks(const FamilyRow& row, const ModelSpec& model);
void t5_embedding(Graph& g, const FamilyRow& row, const ModelSpec& model);
void t5_layer(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind);
void t5_bridge(Graph& g, const FamilyRow& row, const ModelSpec& model);
TensorId t5_head(Graph& g, const FamilyRow& row, const ModelSpec& model, bool tied_copy);

}  // namespace memplan
