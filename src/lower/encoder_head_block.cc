// Heads of BERT, RoBERTa and DeBERTa.
#include <algorithm>

#include "lower/deberta.h"
#include "lower/ends.h"
#include "lower/layer.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

constexpr EncoderHeadRow kHeads[] = {
    {"bert", "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
     "cls.predictions.decoder", "cls.predictions.bias", "bert.pooler.dense", "classifier"},
    {"roberta", "lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias",
     "classifier.dense", "classifier.out_proj"},
    {"deberta-v2", "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
     "cls.predictions.decoder", "cls.predictions.bias", "pooler.dense", "classifier"},
};
// DebertaV2 with legacy=false: the decoder is the embedding itself, tied or not.
constexpr EncoderHeadRow kNewDeberta = {"deberta-v2", "lm_predictions.lm_head.dense",
                                        "lm_predictions.lm_head.LayerNorm",
                                        "lm_predictions.lm_head", "lm_predictions.lm_head.bias"};

bool new_deberta(const FamilyRow& row, const ModelSpec& model) {
  return row.form == Form::deberta && model.extra_or("legacy", 1) == 0;
}

TensorId dense_tanh(Graph& g, std::string name, int64_t width, TensorId x) {
  x = linear(g, x, {.name = std::move(name), .in = width, .out = width, .bias = true});
  return activation(g, x, "tanh");
}

// BertForPreTraining's second task, beside the masked tokens.
void next_sentence_head(Graph& g, const ModelSpec& model, TensorId x) {
  x = dense_tanh(g, "bert.pooler.dense", model.hidden, one_token(g, model, x));
  linear(g, x, {.name = "cls.seq_relationship", .in = model.hidden, .out = 2, .bias = true});
}

TensorId masked_lm_head(Graph& g, const FamilyRow& row, const ModelSpec& model, bool tied_copy,
                        TensorId x) {
  const bool fresh = new_deberta(row, model);
  const EncoderHeadRow& names = encoder_head_row(row, model);
  const int64_t width = fresh ? model.hidden : embedding_width(model);
  const bool tied = model.tie_embeddings || fresh;
  if (model.extra_or("next_sentence_head", 0) != 0) next_sentence_head(g, model, x);
  x = linear(g, x,
             {.name = std::string(names.dense), .in = model.hidden, .out = width, .bias = true});
  x = activation(g, x, model.activation);
  x = row_norm(g, row, std::string(names.norm), width, x);
  if (!tied) {  // this bias stays, though the decoder brings its own
    g.param(make_param(std::string(names.bias), {model.vocab}, Cut::dim0, g.context.tp));
  }
  return vocabulary_head(g, x,
                         {.name = std::string(names.decoder),
                          .width = width,
                          .vocab = model.vocab,
                          .bias = true,
                          .bias_name = tied ? std::string(names.bias) : std::string(),
                          .tied = tied,
                          .tied_copy = tied_copy});
}

}  // namespace

const EncoderHeadRow& encoder_head_row(const FamilyRow& row, const ModelSpec& model) {
  const bool masked = model.head != ModelHead::sequence_classification;
  if (masked && new_deberta(row, model)) return kNewDeberta;
  return *std::ranges::find(kHeads, row.name, &EncoderHeadRow::family);
}

TensorId encoder_head(Graph& g, const FamilyRow& row, const ModelSpec& model, bool tied_copy) {
  TensorId x = layer_input(g, model, "stack output");
  const bool deberta = row.form == Form::deberta;
  if (model.head == ModelHead::none) {
    if (!deberta) dense_tanh(g, "pooler.dense", model.hidden, one_token(g, model, x));
    return kNoTensor;
  }
  if (model.head != ModelHead::sequence_classification) {
    return masked_lm_head(g, row, model, tied_copy, x);
  }
  x = dropout(g, one_token(g, model, x), model.dropout.hidden);
  const EncoderHeadRow& names = encoder_head_row(row, model);
  x = dense_tanh(g, std::string(names.pooler), model.extra_or("pooler_hidden_size", model.hidden),
                 x);
  x = dropout(g, x, model.dropout.hidden);
  return linear(g, x,
                {.name = std::string(names.classifier),
                 .in = model.hidden,
                 .out = model.labels,
                 .bias = true,
                 .output = "logits"});
}

}  // namespace memplan
