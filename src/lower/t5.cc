// After transformers 5.12.1, models/t5/modeling_t5.py. Source and target sequences are taken as
// equally long.
#include "lower/t5.h"

#include <utility>

#include "lower/attention_block.h"
#include "lower/ends.h"
#include "lower/layer.h"
#include "lower/mlp_block.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/pointwise.h"
#include "ops/relative.h"

namespace memplan {
namespace {

constexpr AttentionRow kSelfAttention = {.q = "layer.0.SelfAttention.q",
                                         .k = "layer.0.SelfAttention.k",
                                         .v = "layer.0.SelfAttention.v",
                                         .o = "layer.0.SelfAttention.o",
                                         .bias = Bias::never,
                                         .out_bias = Bias::never};
constexpr AttentionRow kCrossAttention = {.q = "layer.1.EncDecAttention.q",
                                          .k = "layer.1.EncDecAttention.k",
                                          .v = "layer.1.EncDecAttention.v",
                                          .o = "layer.1.EncDecAttention.o",
                                          .bias = Bias::never,
                                          .out_bias = Bias::never};
// [gated][in the decoder]
constexpr MlpRow kMlp[2][2] = {
    {{.gate = {}, .up = "layer.1.DenseReluDense.wi", .down = "layer.1.DenseReluDense.wo"},
     {.gate = {}, .up = "layer.2.DenseReluDense.wi", .down = "layer.2.DenseReluDense.wo"}},
    {{.gate = "layer.1.DenseReluDense.wi_0",
      .up = "layer.1.DenseReluDense.wi_1",
      .down = "layer.1.DenseReluDense.wo"},
     {.gate = "layer.2.DenseReluDense.wi_0",
      .up = "layer.2.DenseReluDense.wi_1",
      .down = "layer.2.DenseReluDense.wo"}}};

std::vector<LayerKind> kinds(int64_t count, bool decoder) {
  std::vector<LayerKind> layers(static_cast<size_t>(count), {.decoder = decoder});
  if (!layers.empty()) layers.front().first_of_stack = true;
  return layers;
}

TensorId token_embedding(Graph& g, const FamilyRow& row, const ModelSpec& model, bool again) {
  const TensorId x = embedding(g, {.name = t5_prefix(row, model) + "shared",
                                   .rows = model.vocab,
                                   .width = model.hidden,
                                   .tied = again});
  return dropout(g, x, model.dropout.embedding);
}

TensorId final_norm(Graph& g, const FamilyRow& row, const ModelSpec& model, const char* stack,
                    TensorId x) {
  x = row_norm(g, row, t5_prefix(row, model) + stack + ".final_layer_norm", model.hidden, x);
  return dropout(g, x, model.dropout.hidden);
}

// What every decoder layer reads and the bridge keeps for all of them.
TensorId encoder_output(Graph& g, const ModelSpec& model) {
  const TensorId x = g.add({.kind = "view", .name = "encoder output"}, "encoder output",
                           checked_mul(g.stream_tokens(), model.hidden), g.context.activation,
                           g.context.input_requires_grad);
  g.tensors[static_cast<size_t>(x)].held_elsewhere = true;
  return x;
}

// One attention sub-layer. The scores carry a bias by distance, which no fused kernel adds.
TensorId t5_attention(Graph& g, FamilyRow row, const ModelSpec& model, const Sublayer& place,
                      const AttentionRow& names, TensorId x, TensorId memory) {
  row.attention = names;
  const AttentionKind asked = std::exchange(g.context.attention, AttentionKind::unfused);
  const TensorId n = open_sublayer(g, row, model, place, x);
  const TensorId y = attention_block(g, row, model, n, memory);
  g.context.attention = asked;
  return close_sublayer(g, row, model, place, x, y);
}

}  // namespace

const AttentionRow& t5_attention_row(bool cross) {
  return cross ? kCrossAttention : kSelfAttention;
}

const MlpRow& t5_mlp_row(const ModelSpec& model, bool decoder) {
  return kMlp[model.gated_mlp][decoder];
}

std::string t5_prefix(const FamilyRow& row, const ModelSpec& model) {
  return model.head == ModelHead::sequence_classification ? std::string(row.base) : std::string();
}

std::vector<Stack> t5_stacks(const FamilyRow& row, const ModelSpec& model) {
  const std::string base = t5_prefix(row, model);
  std::vector<Stack> stacks = {{base + "encoder.block", kinds(model.layers, false)}};
  if (model.decoder_layers > 0) {
    stacks.push_back({base + "decoder.block", kinds(model.decoder_layers, true)});
  }
  return stacks;
}

void t5_embedding(Graph& g, const FamilyRow& row, const ModelSpec& model) {
  token_embedding(g, row, model, false);
}

void t5_layer(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind) {
  TensorId x = layer_input(g, model);
  if (kind.first_of_stack) {
    relative_bias(g, {.name = "layer.0.SelfAttention.relative_attention_bias",
                      .buckets = model.extra_or("relative_attention_num_buckets", 32),
                      .heads = model.heads});
  }
  x = t5_attention(g, row, model, {.before = "layer.0.layer_norm"}, kSelfAttention, x, kNoTensor);
  if (kind.decoder) {
    const TensorId memory = encoder_output(g, model);
    x = t5_attention(g, row, model, {.before = "layer.1.layer_norm", .adapters = false},
                     kCrossAttention, x, memory);
  }
  const Sublayer place = {.before = kind.decoder ? "layer.2.layer_norm" : "layer.1.layer_norm",
                          .site = AdapterSite::after_mlp};
  const TensorId n = open_sublayer(g, row, model, place, x);
  const TensorId y = mlp_block(g, t5_mlp_row(model, kind.decoder), model, model.ffn, n);
  close_sublayer(g, row, model, place, x, y);
}

void t5_bridge(Graph& g, const FamilyRow& row, const ModelSpec& model) {
  TensorId memory = layer_input(g, model, "encoder stack output");
  memory = final_norm(g, row, model, "encoder", memory);
  // Keys and values of every decoder layer come from it: their weights' gradients read it even
  // where the encoder is frozen.
  g.save(memory);
  token_embedding(g, row, model, true);
}

TensorId t5_head(Graph& g, const FamilyRow& row, const ModelSpec& model, bool tied_copy) {
  TensorId x = layer_input(g, model, "stack output");
  x = final_norm(g, row, model, model.decoder_layers > 0 ? "decoder" : "encoder", x);
  if (model.head == ModelHead::none) return kNoTensor;
  if (model.head == ModelHead::sequence_classification) {
    x = one_token(g, model, x);
    x = linear(g, x,
               {.name = "classification_head.dense",
                .in = model.hidden,
                .out = model.hidden,
                .bias = true});
    return linear(g, activation(g, x, "tanh"),
                  {.name = "classification_head.out_proj",
                   .in = model.hidden,
                   .out = model.labels,
                   .bias = true,
                   .output = "logits"});
  }
  // Always the embedding's weight: the class forces the tie.
  return vocabulary_head(g, x,
                         {.name = "lm_head",
                          .width = model.hidden,
                          .vocab = model.vocab,
                          .bias_name = {},
                          .tied = true,
                          .tied_copy = tied_copy});
}

}  // namespace memplan
