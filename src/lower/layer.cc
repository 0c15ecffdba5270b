#include "lower/layer.h"

#include "lower/attention_block.h"
#include "lower/mlp_block.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

TensorId sublayer_output(Graph& g, const ModelSpec& model, const Sublayer& place, TensorId y) {
  if (place.dropout) y = dropout(g, y, model.dropout.hidden);
  return place.adapters ? adapter(g, y, model.hidden, place.site) : y;
}

TensorId mlp_or_moe(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind,
                    TensorId x) {
  return kind.moe ? moe_block(g, row, model, x) : mlp_block(g, row.mlp, model, model.ffn, x);
}

// A linear layer that exists but that a model without an encoder never runs.
void idle_linear(Graph& g, const std::string& name, int64_t out, int64_t in, bool transposed) {
  g.param(transposed ? make_param(name + ".weight", {in, out})
                     : make_param(name + ".weight", {out, in}));
  g.param(make_param(name + ".bias", {out}));
}

void idle_norm(Graph& g, const std::string& name, int64_t width) {
  g.param(make_param(name + ".weight", {width}));
  g.param(make_param(name + ".bias", {width}));
}

// Cross-attention of a decoder-only or BERT model made for an encoder it does not have: weights.
void idle_cross_attention(Graph& g, const FamilyRow& row, const ModelSpec& model) {
  const int64_t h = model.hidden;
  if (row.form == Form::encoder) {
    for (const char* name : {"self.query", "self.key", "self.value", "output.dense"}) {
      idle_linear(g, std::string("crossattention.") + name, h, h, false);
    }
    idle_norm(g, "crossattention.output.LayerNorm", h);
  } else {
    idle_linear(g, "crossattention.c_attn", checked_mul(2, h), h, true);
    idle_linear(g, "crossattention.q_attn", h, h, true);
    idle_linear(g, "crossattention.c_proj", h, h, true);
    idle_norm(g, "ln_cross_attn", h);
  }
}

void parallel_layer(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind,
                    TensorId x) {
  const Sublayer first = attention_sublayer(row), second = mlp_sublayer(row);
  const TensorId n = open_sublayer(g, row, model, first, x);
  const TensorId m = second.before.empty() ? n : open_sublayer(g, row, model, second, x);
  const TensorId a = sublayer_output(g, model, first, attention_block(g, row, model, n));
  const TensorId f = sublayer_output(g, model, second, mlp_or_moe(g, row, model, kind, m));
  add(g, x, add(g, a, f, "attention and MLP"), "layer output");
}

}  // namespace

Sublayer attention_sublayer(const FamilyRow& row) {
  return {.before = row.before_attention,
          .after = row.after_attention,
          .site = AdapterSite::after_attention,
          .dropout = row.attention.dropout_after};
}

Sublayer mlp_sublayer(const FamilyRow& row) {
  return {.before = row.before_mlp, .after = row.after_mlp, .site = AdapterSite::after_mlp};
}

TensorId layer_input(Graph& g, const ModelSpec& model, std::string_view name) {
  return g.input(name, checked_mul(g.stream_tokens(), model.hidden), g.context.activation);
}

TensorId open_sublayer(Graph& g, const FamilyRow& row, const ModelSpec& model,
                       const Sublayer& place, TensorId x) {
  if (place.before.empty()) return x;
  return row_norm(g, row, std::string(place.before), model.hidden, x);
}

TensorId close_sublayer(Graph& g, const FamilyRow& row, const ModelSpec& model,
                        const Sublayer& place, TensorId x, TensorId y) {
  y = sublayer_output(g, model, place, y);
  const auto after = [&](TensorId t) {
    return place.after.empty() ? t : row_norm(g, row, std::string(place.after), model.hidden, t);
  };
  if (row.residual == Residual::add_then_norm) return after(add(g, x, y));
  return add(g, x, after(y));
}

void standard_layer(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind) {
  TensorId x = layer_input(g, model);
  if (row.residual == Residual::parallel) return parallel_layer(g, row, model, kind, x);

  const Sublayer first = attention_sublayer(row), second = mlp_sublayer(row);
  TensorId n = open_sublayer(g, row, model, first, x);
  x = close_sublayer(g, row, model, first, x, attention_block(g, row, model, n));
  if (model.extra_or("add_cross_attention", 0) != 0) idle_cross_attention(g, row, model);
  n = open_sublayer(g, row, model, second, x);
  close_sublayer(g, row, model, second, x, mlp_or_moe(g, row, model, kind, n));
}

}  // namespace memplan
