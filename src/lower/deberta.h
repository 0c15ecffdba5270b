// What DeBERTa-v2 and v3 have beyond BERT: distances in attention, a convolution, narrow
// embeddings.
#pragma once

#include "lower/family_row.h"

namespace memplan {

/// Width of the token embedding; the hidden width for every other family.
int64_t embedding_width(const ModelSpec& model);

/// Bits of pos_att_type.
enum class DistanceScores : int64_t { content_to_position = 1, position_to_content = 2 };
bool asks(const ModelSpec& model, DistanceScores kind);

/// Rows of the table of distances: both directions.
int64_t distance_rows(const ModelSpec& model);

/// The table of distances, which every layer reads, and the convolution over the embeddings `x`,
/// whose output joins the first layer's. Both belong to the encoder, not to a layer.
void deberta_encoder_parts(Graph& g, const ModelSpec& model, const std::string& base, TensorId x);

void deberta_layer(Graph& g, const FamilyRow& row, const ModelSpec& model);

}  // namespace memplan
