// transformers 5.12.1, models/bert/modeling_bert.py and models/roberta/modeling_roberta.py
#include <string>

#include "lower/huggingface/encoders.h"
#include "lower/huggingface/versions.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

Tensor eager_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                       double p, Tensor& weights) {
  {
    const Tensor kt = transpose(k, 2, 3);
    const Tensor scores = matmul(q, kt);
    weights = mul_scalar(scores);
  }
  if (mask) weights = add(weights, mask);
  weights = autocast_softmax(weights);
  weights = dropout(weights, p);
  Tensor out = matmul(weights, v);
  out = transpose(out, 1, 2);
  return contiguous(out);
}

// Leaves in `weights` what the layer holds until it returns.
Tensor self_attention(const Forward& f, const Params& p, const Tensor& x, Tensor& weights) {
  const AttentionRow& row = f.row.attention;
  const int64_t d = f.model.head_dim;
  const double drop = f.model.dropout.attention;
  const auto heads = [&](std::string_view name) { return split_heads(linear(f, p, name, x), d); };
  const Tensor q = heads(row.q);
  const Tensor k = heads(row.k);
  const Tensor v = heads(row.v);
  const Tensor out =
      f.job.strategy.attention == AttentionKind::unfused
          ? eager_attention(q, k, v, f.causal_mask, drop, weights)
          : attend(f, q, k, v, {.mask = f.causal_mask, .dropout = drop, .causal = false});
  return reshape(out, {f.batch, f.sequence, out.size(2) * out.size(3)});
}

Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& hidden) {
  Tensor weights;
  Tensor x = self_attention(f, p, hidden, weights);
  x = dense_add_norm(f, p, f.row.attention.o, f.row.after_attention, x, hidden);
  return encoder_mlp(f, p, x);
}

// The buffer of positions, whose bytes are those of `buffers`: any counted storage stands for it.
Tensor position_buffer(const Forward& f) { return alias(f.ids, {1, f.sequence}, {f.sequence, 1}); }

// create_position_ids_from_input_ids
Tensor positions_from_ids(const Forward& f) {
  const NoGrad off(f.session);
  const Shape sizes = f.ids.sizes();
  Session& s = f.session;
  Tensor indices;
  {
    Tensor mask = make(s, "aten.ne.Scalar", sizes, DType::boolean);
    mask = to(mask, DType::i32);
    Tensor sum = make(s, "aten.cumsum.default", sizes, DType::i64);
    sum = to(sum, DType::i32);
    sum = pointwise("aten.add.Tensor", {&sum}, DType::i32);
    indices = pointwise("aten.mul.Tensor", {&sum, &mask}, DType::i32);
  }
  indices = to(indices, DType::i64);
  return pointwise("aten.add.Tensor", {&indices}, DType::i64);
}

Tensor embeddings(const Forward& f, const Params& p, const Tensor& positions) {
  const std::string base = base_prefix(f.row, f.model);
  const auto table = [&](std::string_view name) {
    return p.get(base + std::string(name), "weight");
  };
  Tensor types = slices_token_types(f.job)
                     ? position_buffer(f)
                     : make(f.session, "aten.gather.default", positions.sizes(), DType::i64);
  types = expand(types, f.ids.sizes());
  const Tensor words = embedding(table(f.row.embedding), f.ids);
  const Tensor of_types = embedding(table("embeddings.token_type_embeddings"), types);
  Tensor x = add(words, of_types);
  const Tensor of_positions = embedding(table(f.row.positions), positions);
  x = add(x, of_positions);
  x = row_norm(f, p, base + std::string(f.row.embedding_norm), x);
  return dropout(x, f.model.dropout.embedding);
}

Tensor embed_at(Forward& f, const Params& p, const Tensor& positions) {
  f.inputs_embeds = embeddings(f, p, positions);
  const AttentionKind kind = f.job.strategy.attention;
  f.causal_mask = kind == AttentionKind::flash ? f.padding
                                               : bidirectional_mask(f, f.inputs_embeds.dtype(),
                                                                    kind == AttentionKind::unfused);
  return f.inputs_embeds;
}

Tensor embed_bert(Forward& f, const Params& p) { return embed_at(f, p, position_buffer(f)); }
Tensor embed_roberta(Forward& f, const Params& p) { return embed_at(f, p, positions_from_ids(f)); }

// position_ids and token_type_ids.
int64_t buffers(const Job& job) {
  return checked_mul(2 * size_of(DType::i64), job.model.max_positions);
}

}  // namespace

Family bert_family() { return {"bert", layer, embed_bert, decoder_finish, encoder_loss, buffers}; }
Family roberta_family() {
  return {"roberta", layer, embed_roberta, decoder_finish, encoder_loss, buffers};
}

}  // namespace memplan::hf
