// StableLM (transformers/models/stablelm/modeling_stablelm.py).
#include <string>
#include <vector>

#include "lower/huggingface/variants.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// StableLmLayerNormPerHead: x [b, heads, s, d], one norm for each head.
Tensor norm_heads(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const std::vector<int64_t> ones(static_cast<size_t>(x.size(1)), 1);
  const std::vector<Tensor> heads = split(x, ones, 1);
  std::vector<Tensor> normed;
  for (size_t i = 0; i < heads.size(); ++i) {
    const std::string own = std::string(name) + ".norms." + std::to_string(i);
    const Tensor weight = p.get(own, "weight"), bias = p.find(own, "bias");
    normed.push_back(called(f, p, own, {weight, bias}, heads[i],
                            [&](const Tensor& given) { return layer_norm(given, weight, bias); }));
  }
  return cat(normed, 1);
}

Tensor attention(Forward& f, const Params& p, const LayerKind& kind, const Tensor& x) {
  const AttentionRow& row = f.row.attention;
  const int64_t d = f.model.head_dim, rotary = rotary_width(f.model);
  Tensor q = linear(f, p, row.q, x);
  Tensor k = linear(f, p, row.k, x);
  Tensor v = linear(f, p, row.v, x);
  q = split_heads(q, d);
  k = split_heads(k, d);
  v = split_heads(v, d);
  if (f.model.qk_norm) {
    const auto norm = [&](std::string_view name, const Tensor& heads) {
      return called(f, p, name, {}, heads,
                    [&](const Tensor& given) { return norm_heads(f, p, name, given); });
    };
    q = norm(row.q_norm, q);
    k = norm(row.k_norm, k);
  }
  Tensor parts_q[] = {columns(q, 0, rotary), slice(q, -1, rotary, d - rotary)};
  Tensor parts_k[] = {columns(k, 0, rotary), slice(k, -1, rotary, d - rotary)};
  apply_rotary(f.cos, f.sin, parts_q[0], parts_k[0]);
  q = cat(parts_q);
  k = cat(parts_k);
  return attention_output(f, p, kind, q, k, v);
}

Tensor layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  const Tensor normed = row_norm(f, p, f.row.before_attention, hidden);
  const Tensor attended = called_attention(f, p, [&] { return attention(f, p, kind, normed); });
  if (f.row.residual == Residual::parallel) {
    Tensor x = called_mlp(f, p, normed);
    x = called_dropout(f, p, "dropout", x, f.model.dropout.hidden);
    const Tensor sum = add(hidden, attended);
    return add(sum, x);
  }
  const Tensor residual = add(hidden, attended);
  Tensor x;
  {
    const Tensor input = row_norm(f, p, f.row.before_mlp, residual);
    x = called_mlp(f, p, input);
  }
  x = called_dropout(f, p, "dropout", x, f.model.dropout.hidden);
  return add(residual, x);
}

}  // namespace

Family stablelm() {
  return named({"stablelm", layer, decoder_embed, decoder_finish, causal_lm_loss, rotary_buffers});
}

}  // namespace memplan::hf
