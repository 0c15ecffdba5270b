#include "lower/megatron/t5_blocks.h"

#include <string>

#include "lower/attention_block.h"
#include "lower/ends.h"
#include "lower/layer.h"
#include "lower/mlp_block.h"
#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan::megatron {
namespace {

void enter_decoder(Graph& g, const ModelSpec& model) {
  g.context.sequence = g.context.full_sequence = decoder_sequence(model);
}

// The encoder's output, which all decoder layers read.
TensorId encoder_output(Graph& g, const ModelSpec& model, int64_t stream_tokens) {
  const TensorId x = g.add({.kind = "view", .name = "encoder output"}, "encoder output",
                           checked_mul(stream_tokens, model.hidden), g.context.activation,
                           g.context.input_requires_grad);
  g.tensors[static_cast<size_t>(x)].held_elsewhere = true;
  return x;
}

TensorId column(Graph& g, const ModelSpec& model, TensorId x, std::string_view name, int64_t parts,
                std::string_view output) {
  return linear(g, x,
                {.name = std::string(name),
                 .in = model.hidden,
                 .out = product({parts, model.heads, model.head_dim}),
                 .bias = model.attention_out_bias,  // add_bias_linear
                 .cut = Cut::dim0,
                 .output = output});
}

TensorId cross_attention(Graph& g, FamilyRow row, const ModelSpec& model, TensorId x,
                         TensorId memory) {
  x = enter_tensor_parallel(g, x);
  memory = enter_tensor_parallel(g, memory);
  QueryKeyValue qkv;
  const TensorId kv = column(g, model, memory, kCrossKeyValue, 2, "keys and values");
  qkv.k = slice(g, kv, "k", g.elements(kv) / 2);
  qkv.v = slice(g, kv, "v", g.elements(kv) / 2);
  qkv.q = column(g, model, x, kCrossQuery, 1, "q");
  row.attention.o = kCrossOutput;
  return attend(g, row, model, qkv);
}

}  // namespace

int64_t decoder_sequence(const ModelSpec& model) {
  return model.extra_or("decoder_seq_length", model.max_positions);
}

std::vector<Stack> t5_stacks(const ModelSpec& model) {
  const auto layers = [](int64_t count, bool decoder) {
    return std::vector<LayerKind>(static_cast<size_t>(count), {.decoder = decoder});
  };
  return {{"encoder.layers", layers(model.layers, false)},
          {"decoder.layers", layers(model.decoder_layers, true)}};
}

void t5_layer(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind) {
  const int64_t encoder_tokens = g.stream_tokens();
  if (kind.decoder) enter_decoder(g, model);
  TensorId x = layer_input(g, model);
  const Sublayer self = attention_sublayer(row), second = mlp_sublayer(row);
  TensorId n = open_sublayer(g, row, model, self, x);
  x = close_sublayer(g, row, model, self, x, attention_block(g, row, model, n));
  if (kind.decoder) {
    const Sublayer cross = {.before = kCrossNorm, .adapters = false};
    const TensorId memory = encoder_output(g, model, encoder_tokens);
    n = open_sublayer(g, row, model, cross, x);
    x = close_sublayer(g, row, model, cross, x, cross_attention(g, row, model, n, memory));
  }
  n = open_sublayer(g, row, model, second, x);
  close_sublayer(g, row, model, second, x, mlp_block(g, row.mlp, model, model.ffn, n));
}

void t5_bridge(Graph& g, const FamilyRow& row, const ModelSpec& model) {
  g.save(row_norm(g, row, std::string(kEncoderNorm), model.hidden,
                  layer_input(g, model, "encoder stack output")));
  enter_decoder(g, model);
  const TensorId x = embedding(g, {.name = std::string(row.embedding),
                                   .rows = model.vocab,
                                   .width = model.hidden,
                                   .tied = true});
  dropout(g, x, model.dropout.embedding);
}

TensorId t5_head(Graph& g, const FamilyRow& row, const ModelSpec& model, bool tied_copy) {
  enter_decoder(g, model);
  return standard_head(g, row, model, tied_copy);
}

}  // namespace memplan::megatron
