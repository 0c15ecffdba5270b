// What stands before the first layer and after the last one.
#pragma once

#include <string_view>

#include "lower/family_row.h"

namespace memplan {

/// Token embedding, positions, norm and dropout: what decoder-only models have.
void standard_embedding(Graph& g, const FamilyRow& row, const ModelSpec& model);
/// BERT's and DeBERTa's: token types too.
void encoder_embedding(Graph& g, const FamilyRow& row, const ModelSpec& model);

/// Final norm and language-model head or classification score. Returns the logits, or kNoTensor.
TensorId standard_head(Graph& g, const FamilyRow& row, const ModelSpec& model, bool tied_copy);
/// Names of the parts of an encoder's masked-LM head and of its classifier.
struct EncoderHeadRow {
  std::string_view family;
  std::string_view dense, norm, decoder, bias;
  std::string_view pooler = {}, classifier = {};
};
const EncoderHeadRow& encoder_head_row(const FamilyRow& row, const ModelSpec& model);
/// Masked-LM head, classifier or pooler.
TensorId encoder_head(Graph& g, const FamilyRow& row, const ModelSpec& model, bool tied_copy);

/// One token of each sample, [b, h]: what a classifier looks at. Gathers the sequence first where
/// sequence parallelism has cut it.
TensorId one_token(Graph& g, const ModelSpec& model, TensorId x);

}  // namespace memplan
