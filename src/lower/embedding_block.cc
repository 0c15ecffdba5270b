#include "lower/deberta.h"
#include "lower/ends.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

TensorId table(Graph& g, std::string name, int64_t rows, int64_t width, bool vocabulary) {
  return embedding(
      g, {.name = std::move(name), .rows = rows, .width = width, .vocabulary = vocabulary});
}

TensorId add_positions(Graph& g, const FamilyRow& row, const ModelSpec& model,
                       const std::string& base, int64_t width, TensorId x) {
  const int64_t rows = checked_add(model.max_positions, row.position_offset);
  return add(g, x, table(g, base + std::string(row.positions), rows, width, false));
}

}  // namespace

void standard_embedding(Graph& g, const FamilyRow& row, const ModelSpec& model) {
  const std::string base = base_prefix(row, model);
  const int64_t width = model.extra_or("word_embed_proj_dim", model.hidden);
  TensorId x = table(g, base + std::string(row.embedding), model.vocab, width, true);
  if (width != model.hidden) {
    x = linear(g, x, {.name = base + "decoder.project_in", .in = width, .out = model.hidden});
  }
  if (!row.positions.empty()) x = add_positions(g, row, model, base, model.hidden, x);
  if (!row.embedding_norm.empty()) {
    x = row_norm(g, row, base + std::string(row.embedding_norm), model.hidden, x);
  }
  dropout(g, x, model.dropout.embedding);
}

void encoder_embedding(Graph& g, const FamilyRow& row, const ModelSpec& model) {
  const std::string base = base_prefix(row, model);
  const int64_t width = embedding_width(model);
  TensorId x = table(g, base + std::string(row.embedding), model.vocab, width, true);
  if (model.extra_or("position_biased_input", 1) != 0) {
    x = add_positions(g, row, model, base, width, x);
  }
  if (model.type_vocab > 0) {
    const std::string name = base + "embeddings.token_type_embeddings";
    x = add(g, x, table(g, name, model.type_vocab, width, false));
  }
  if (width != model.hidden) {
    x = linear(g, x, {.name = base + "embeddings.embed_proj", .in = width, .out = model.hidden});
  }
  x = row_norm(g, row, base + std::string(row.embedding_norm), model.hidden, x);
  x = dropout(g, x, model.dropout.embedding);
  if (row.form == Form::deberta) deberta_encoder_parts(g, model, base, x);
}

}  // namespace memplan
