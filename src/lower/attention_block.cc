#include "lower/attention_block.h"

#include <algorithm>

#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

int64_t local_kv_parts(const Graph& g, const ModelSpec& model) {
  return std::min(g.context.tp, model.kv_heads);
}

QueryKeyValue separate_projections(Graph& g, const AttentionRow& row, const ModelSpec& model,
                                   TensorId x, TensorId memory) {
  const bool bias = has_bias(row.bias, model.attention_bias);
  const int64_t kv_width = checked_mul(model.kv_heads, model.head_dim);
  const auto column = [&](std::string_view name, int64_t out, int64_t parts, std::string_view role,
                          std::string_view output) {
    return Linear{.name = std::string(name),
                  .in = model.hidden,
                  .out = out,
                  .bias = bias,
                  .cut = Cut::dim0,
                  .parts = parts,
                  .transposed = row.transposed,
                  .role = role,
                  .output = output};
  };
  const int64_t kv_parts = local_kv_parts(g, model);
  QueryKeyValue qkv;
  qkv.q = linear(g, x, column(row.q, checked_mul(model.heads, model.head_dim), 0, "query", "q"));
  qkv.k = linear(g, memory, column(row.k, kv_width, kv_parts, "key", "k"));
  qkv.v = linear(g, memory, column(row.v, kv_width, kv_parts, "value", "v"));
  return qkv;
}

QueryKeyValue fused_projection(Graph& g, const AttentionRow& row, const ModelSpec& model,
                               TensorId x) {
  // A rank that shares its key-value head with others holds more than an equal share.
  const int64_t local_rows = checked_mul(
      checked_add(local_heads(g, model.heads), checked_mul(2, local_heads(g, model.kv_heads))),
      model.head_dim);
  const int64_t rows =
      checked_mul(checked_add(model.heads, checked_mul(2, model.kv_heads)), model.head_dim);
  const int64_t kv_rows = checked_mul(model.kv_heads, model.head_dim);
  const TensorId whole =
      linear(g, x,
             {.name = std::string(row.qkv),
              .in = model.hidden,
              .out = rows,
              .bias = has_bias(row.bias, model.attention_bias),
              .cut = Cut::dim0,
              .part_size = g.context.tp > model.kv_heads ? local_rows : 0,
              .transposed = row.transposed,
              .role = "qkv",
              .fused = {checked_mul(model.heads, model.head_dim), kv_rows, kv_rows},
              .output = "qkv"});
  const int64_t q = product({g.tokens(), local_heads(g, model.heads), model.head_dim});
  const int64_t kv = product({g.tokens(), local_heads(g, model.kv_heads), model.head_dim});
  return {slice(g, whole, "q", q), slice(g, whole, "k", kv), slice(g, whole, "v", kv)};
}

// The norm of q, or of k where `heads` are the key-value heads.
TensorId head_norm(Graph& g, const FamilyRow& row, const ModelSpec& model, std::string_view name,
                   int64_t heads, TensorId x) {
  const int64_t d = model.head_dim;
  const bool bias = row.norm == NormKind::layer;
  const int64_t parts = std::min(g.context.tp, heads);
  switch (row.attention.qk_norm) {
    case QkNorm::none:
      break;
    case QkNorm::per_head:
      return norm(g, x, {.name = std::string(name), .width = d, .bias = bias});
    case QkNorm::whole:
      return norm(g, x,
                  {.name = std::string(name),
                   .width = checked_mul(heads, d),
                   .cut = Cut::dim0,
                   .parts = parts});
    case QkNorm::matrix:
      return norm(g, x,
                  {.name = std::string(name),
                   .width = d,
                   .shape = {heads, d},
                   .cut = Cut::dim0,
                   .parts = parts});
    case QkNorm::per_head_list: {
      // A rank holds the weights of its own heads; cutting each of them holds as much.
      for (int64_t j = 0; j < heads; ++j) {
        g.param(make_param(std::string(name) + ".norms." + std::to_string(j) + ".weight", {d},
                           Cut::dim0, parts));
      }
      return norm(g, x, {.name = std::string(name), .width = d, .affine = false});
    }
  }
  return x;
}

}  // namespace

int64_t local_heads(const Graph& g, int64_t heads) { return ceil_div(heads, g.context.tp); }

QueryKeyValue project(Graph& g, const FamilyRow& row, const ModelSpec& model, TensorId x,
                      TensorId memory) {
  const AttentionRow& attention = row.attention;
  QueryKeyValue qkv =
      attention.form == AttentionForm::fused
          ? fused_projection(g, attention, model, x)
          : separate_projections(g, attention, model, x, memory == kNoTensor ? x : memory);
  if (!attention.qk_norm_by_config || model.qk_norm) {
    qkv.q = head_norm(g, row, model, attention.q_norm, model.heads, qkv.q);
    qkv.k = head_norm(g, row, model, attention.k_norm, model.kv_heads, qkv.k);
  }
  return qkv;
}

TensorId attend(Graph& g, const FamilyRow& row, const ModelSpec& model, const QueryKeyValue& qkv) {
  if (!row.attention.sinks.empty()) {
    g.param(make_param(std::string(row.attention.sinks), {model.heads}, Cut::dim0, g.context.tp));
  }
  const TensorId out = attention(g, qkv.q, qkv.k, qkv.v,
                                 {.heads = local_heads(g, model.heads),
                                  .kv_heads = local_heads(g, model.kv_heads),
                                  .qk_head_dim = model.head_dim,
                                  .v_head_dim = model.head_dim,
                                  .dropout = model.dropout.attention,
                                  // Gemma 2 (arXiv 2408.00118, section 2)
                                  .soft_cap = model.extra_or("attn_logit_softcapping", 0) != 0});
  const TensorId y = linear(
      g, out,
      {.name = std::string(row.attention.o),
       .in = row.attention.square_output ? model.hidden : checked_mul(model.heads, model.head_dim),
       .out = model.hidden,
       .bias = has_bias(row.attention.out_bias, model.attention_out_bias),
       .cut = Cut::dim1,
       .transposed = row.attention.transposed,
       .role = "projection",
       .output = "attention output"});
  return leave_tensor_parallel(g, y);
}

TensorId attention_block(Graph& g, const FamilyRow& row, const ModelSpec& model, TensorId x,
                         TensorId memory) {
  if (row.attention.form == AttentionForm::latent) return latent_attention_block(g, row, model, x);
  const TensorId inside = enter_tensor_parallel(g, x);
  const TensorId source = memory == kNoTensor ? inside : enter_tensor_parallel(g, memory);
  return attend(g, row, model, project(g, row, model, inside, source));
}

}  // namespace memplan
