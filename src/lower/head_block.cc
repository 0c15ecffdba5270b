#include "lower/ends.h"
#include "lower/layer.h"
#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan {

TensorId one_token(Graph& g, const ModelSpec& model, TensorId x) {
  if (g.context.sequence_parallel) x = enter_tensor_parallel(g, x);
  return slice(g, x, "one token", checked_mul(g.context.batch, model.hidden));
}

TensorId standard_head(Graph& g, const FamilyRow& row, const ModelSpec& model, bool tied_copy) {
  const std::string base = base_prefix(row, model);
  TensorId x = layer_input(g, model, "stack output");
  if (!row.final_norm.empty()) {
    x = row_norm(g, row, base + std::string(row.final_norm), model.hidden, x);
  }
  const int64_t width = model.extra_or("word_embed_proj_dim", model.hidden);
  if (width != model.hidden) {
    x = linear(g, x, {.name = base + "decoder.project_out", .in = model.hidden, .out = width});
  }
  if (model.head == ModelHead::none) return kNoTensor;
  if (model.head == ModelHead::sequence_classification) {
    return linear(g, x, {.name = "score", .in = width, .out = model.labels, .output = "logits"});
  }
  if (model.extra_or("multiple_choice_head", 0) != 0) {  // GPT2DoubleHeadsModel
    linear(g, one_token(g, model, x),
           {.name = "multiple_choice_head.summary", .in = width, .out = 1, .bias = true});
  }
  const TensorId logits = vocabulary_head(g, x,
                                          {.name = std::string(row.head),
                                           .width = width,
                                           .vocab = model.vocab,
                                           .bias = row.head_bias,
                                           .bias_name = {},
                                           .tied = model.tie_embeddings,
                                           .tied_copy = tied_copy});
  // z -> cap·tanh(z/cap) (Gemma 2, arXiv 2408.00118, section 2)
  if (model.extra_or("final_logit_softcapping", 0) != 0) return activation(g, logits, "tanh");
  return logits;
}

}  // namespace memplan
