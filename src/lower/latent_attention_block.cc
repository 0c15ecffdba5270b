// Multi-head latent attention: queries, keys and values through low-rank bottlenecks
// (arXiv 2405.04434, section 2.1; transformers DeepseekV2Attention, DeepseekV3Attention).
// The bottlenecks are whole on every rank and work on the rank's share of the sequence; the
// tensor-parallel region begins behind them, with narrow tensors (Megatron-LM,
// core/transformer/multi_latent_attention.py).
#include "lower/attention_block.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

Linear column(std::string_view name, int64_t in, int64_t out, std::string_view output) {
  return {.name = std::string(name), .in = in, .out = out, .cut = Cut::dim0, .output = output};
}

Linear down(std::string_view name, const ModelSpec& model, int64_t out, std::string_view output) {
  return {.name = std::string(name),
          .in = model.hidden,
          .out = out,
          .bias = model.attention_bias,
          .output = output};
}

TensorId latent_norm(Graph& g, const FamilyRow& row, std::string_view name, int64_t width,
                     TensorId x) {
  return row.attention.latent.norms ? row_norm(g, row, std::string(name), width, x) : x;
}

TensorId queries(Graph& g, const FamilyRow& row, const ModelSpec& model, TensorId x,
                 int64_t width) {
  const LatentRow& names = row.attention.latent;
  const int64_t rank = model.mla.q_lora_rank;
  if (rank == 0) {
    const TensorId inside = enter_tensor_parallel(g, x);
    return linear(g, inside, column(names.q, model.hidden, width, "q"));
  }
  const TensorId low = linear(g, x, down(names.q_down, model, rank, "latent q"));
  const TensorId normed = latent_norm(g, row, names.q_norm, rank, low);
  return linear(g, enter_tensor_parallel(g, normed), column(names.q_up, rank, width, "q"));
}

}  // namespace

TensorId latent_attention_block(Graph& g, const FamilyRow& row, const ModelSpec& model,
                                TensorId x) {
  const LatentRow& names = row.attention.latent;
  const MlaSpec& mla = model.mla;
  const int64_t rank = mla.kv_lora_rank, rotary = mla.qk_rope_head_dim;
  const int64_t qk_dim = checked_add(mla.qk_nope_head_dim, rotary);
  const int64_t heads = local_heads(g, model.heads);

  const TensorId q = queries(g, row, model, x, checked_mul(model.heads, qk_dim));

  const TensorId low =
      linear(g, x, down(names.kv_down, model, checked_add(rank, rotary), "latent kv and rotary k"));
  const TensorId latent = slice(g, low, "latent kv", checked_mul(g.stream_tokens(), rank));
  const TensorId normed = latent_norm(g, row, names.kv_norm, rank, latent);
  const TensorId inside = enter_tensor_parallel(g, normed);
  enter_tensor_parallel(g, slice(g, low, "rotary k", checked_mul(g.stream_tokens(), rotary)));
  const TensorId kv =
      linear(g, inside,
             column(names.kv_up, rank,
                    checked_mul(model.heads, checked_add(mla.qk_nope_head_dim, mla.v_head_dim)),
                    "keys and values"));
  // Every head's key is its own part and the one rotary part that all heads share.
  const TensorId k = slice(g, kv, "k", product({g.tokens(), heads, qk_dim}));
  const TensorId v = slice(g, kv, "v", product({g.tokens(), heads, mla.v_head_dim}));

  const TensorId out = attention(g, q, k, v,
                                 {.heads = heads,
                                  .kv_heads = heads,
                                  .qk_head_dim = qk_dim,
                                  .v_head_dim = mla.v_head_dim,
                                  .dropout = model.dropout.attention});
  const TensorId y = linear(g, out,
                            {.name = std::string(row.attention.o),
                             .in = checked_mul(model.heads, mla.v_head_dim),
                             .out = model.hidden,
                             .bias = model.attention_out_bias,
                             .cut = Cut::dim1,
                             .output = "attention output"});
  return leave_tensor_parallel(g, y);
}

}  // namespace memplan
