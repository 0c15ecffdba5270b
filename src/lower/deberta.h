// What DeBERTa-v2 and v3 have beyond BERT: distances in attention, a convolution, narrow
// embeddings.
#pragma once

#include "lower/family_row.h"

namespace memplan {

/// Width of the token embedding; the hidden width for every other family.
int64_t embedding_width(const ModelSpec& model);

/// Rows of the table of distances: both directions.
int64_t distance_rows(const ModelSpec& model);

/// The table of distances, which every layer reads, and the convolution over the embeddings `x`,
/// whose output joins the first layer's. Both belong to the encoder, not to a layer.
void deberta_encoder_parts(Graph& g, const ModelSpec& model, const std::string& base, TensorId x);

void deberta_layer(Graph& g, const FamilyRow& row, const ModelSpec& model);

}  // namespace memplan
