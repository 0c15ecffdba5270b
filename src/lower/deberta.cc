// After transformers 5.12.1, models/deberta_v2/modeling_deberta_v2.py.
#include "lower/deberta.h"

#include <utility>

#include "lower/attention_block.h"
#include "lower/layer.h"
#include "lower/mlp_block.h"
#include "ops/convolution.h"
#include "ops/linear.h"
#include "ops/pointwise.h"
#include "ops/relative.h"

namespace memplan {
namespace {

bool attends_to_distances(const ModelSpec& model) {
  return model.extra_or("relative_attention", 0) != 0;
}

// The rows of the table, with the dropout of this layer.
TensorId distances(Graph& g, const ModelSpec& model) {
  const TensorId rows = g.add({.kind = "view", .name = "distances"}, "distances",
                              checked_mul(distance_rows(model), model.hidden), g.context.activation,
                              g.context.block_trainable);
  return dropout(g, rows, model.dropout.hidden);
}

TensorId project_distances(Graph& g, const ModelSpec& model, TensorId rows, const char* name) {
  return linear(g, rows,
                {.name = name,
                 .in = model.hidden,
                 .out = checked_mul(model.heads, model.head_dim),
                 .bias = true,
                 .cut = Cut::dim0,
                 .output = "projected distances"});
}

// With a shared key the projections of content serve the distances too: no weights of their own.
TensorId reuse_projection(Graph& g, const ModelSpec& model, TensorId rows) {
  const int64_t width = checked_mul(local_heads(g, model.heads), model.head_dim);
  const double flops = 2.0 * static_cast<double>(g.elements(rows)) * static_cast<double>(width);
  const TensorId y = g.add({.kind = "linear",
                            .name = "projected distances",
                            .flops = flops,
                            .flops_backward = 2 * flops},
                           "projected distances", checked_mul(distance_rows(model), width),
                           g.context.activation, g.grad(rows));
  if (g.grad(rows)) g.save(rows);
  return y;
}

void disentangled_scores(Graph& g, const ModelSpec& model, const QueryKeyValue& qkv) {
  const TensorId rows = distances(g, model);
  const bool shared = model.extra_or("share_att_key", 0) != 0;
  const RelativeScores sizes = {.heads = local_heads(g, model.heads),
                                .head_dim = model.head_dim,
                                .rows = distance_rows(model)};
  const auto scores = [&](DistanceScores kind, const char* name, TensorId content) {
    if (!asks(model, kind)) return;
    const TensorId projected =
        shared ? reuse_projection(g, model, rows) : project_distances(g, model, rows, name);
    relative_scores(g, content, projected, sizes);
  };
  scores(DistanceScores::content_to_position, "attention.self.pos_key_proj", qkv.q);
  scores(DistanceScores::position_to_content, "attention.self.pos_query_proj", qkv.k);
}

TensorId disentangled_attention(Graph& g, const FamilyRow& row, const ModelSpec& model,
                                TensorId x) {
  const QueryKeyValue qkv = project(g, row, model, enter_tensor_parallel(g, x));
  if (attends_to_distances(model)) disentangled_scores(g, model, qkv);
  // No fused kernel makes these scores.
  const AttentionKind asked = std::exchange(g.context.attention, AttentionKind::unfused);
  const TensorId out = attend(g, row, model, qkv);
  g.context.attention = asked;
  return out;
}

}  // namespace

int64_t embedding_width(const ModelSpec& model) {
  return model.extra_or("embedding_size", model.hidden);
}

bool asks(const ModelSpec& model, DistanceScores kind) {
  return (model.extra_or("pos_att_type", 0) & static_cast<int64_t>(kind)) != 0;
}

int64_t distance_rows(const ModelSpec& model) {
  const int64_t buckets = model.extra_or("position_buckets", -1);
  const int64_t longest = model.extra_or("max_relative_positions", -1);
  const int64_t span = buckets > 0 ? buckets : longest >= 1 ? longest : model.max_positions;
  return checked_mul(2, span);
}

void deberta_encoder_parts(Graph& g, const ModelSpec& model, const std::string& base, TensorId x) {
  const int64_t h = model.hidden;
  bool trained = false;
  if (attends_to_distances(model)) {
    trained =
        g.param(make_param(base + "encoder.rel_embeddings.weight", {distance_rows(model), h}));
  }
  if (model.extra_or("norm_rel_ebd", 0) != 0) {
    const TensorId rows =
        g.add({.kind = "view", .name = "distances"}, "distances",
              checked_mul(distance_rows(model), h), g.context.activation, trained);
    norm(g, rows, {.name = base + "encoder.LayerNorm", .width = h, .bias = true});
  }
  const int64_t kernel = model.extra_or("conv_kernel_size", 0);
  if (kernel <= 0) return;
  TensorId y = convolution(g, x,
                           {.name = base + "encoder.conv.conv",
                            .width = h,
                            .groups = model.extra_or("conv_groups", 1),
                            .kernel = kernel});
  y = activation(g, dropout(g, y, model.dropout.hidden), "tanh");
  norm(g, y, {.name = base + "encoder.conv.LayerNorm", .width = h, .bias = true});
}

void deberta_layer(Graph& g, const FamilyRow& row, const ModelSpec& model) {
  TensorId x = layer_input(g, model);
  const Sublayer first = attention_sublayer(row), second = mlp_sublayer(row);
  x = close_sublayer(g, row, model, first, x, disentangled_attention(g, row, model, x));
  close_sublayer(g, row, model, second, x, mlp_block(g, row.mlp, model, model.ffn, x));
}

}  // namespace memplan
