// transformers 5.12.1, models/opt/modeling_opt.py
#include "lower/huggingface/classic.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

Tensor attention(const Forward& f, const Params& p, const Tensor& x) {
  const AttentionRow& row = f.row.attention;
  const int64_t d = f.model.head_dim;
  Tensor q;
  {
    const Tensor projected = linear(f, p, row.q, x);
    q = mul_scalar(projected);
  }
  q = split_heads(q, d);
  Tensor k = linear(f, p, row.k, x);
  Tensor v = linear(f, p, row.v, x);
  k = split_heads(k, d);
  v = split_heads(v, d);
  Tensor out = attend(f, q, k, v, {.mask = f.causal_mask, .dropout = f.model.dropout.attention});
  out = reshape(out, x.sizes());
  return linear(f, p, row.o, out);
}

// do_layer_norm_before says on which side of a sub-layer its norm stands; the row has its name
// there and nothing on the other.
Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& given) {
  const auto norm = [&](std::string_view name, Tensor& x) {
    if (!name.empty()) x = row_norm(f, p, name, x);
  };
  Tensor residual = given, hidden = given;
  norm(f.row.before_attention, hidden);
  hidden = attention(f, p, hidden);
  hidden = dropout(hidden, f.model.dropout.hidden);
  hidden = add(residual, hidden);
  norm(f.row.after_attention, hidden);
  const Shape sizes = hidden.sizes();
  hidden = reshape(hidden, {sizes[0] * sizes[1], sizes[2]});
  residual = hidden;
  norm(f.row.before_mlp, hidden);
  hidden = linear(f, p, f.row.mlp.up, hidden);
  hidden = activation(hidden, f.model.activation);
  hidden = linear(f, p, f.row.mlp.down, hidden);
  hidden = dropout(hidden, f.model.dropout.hidden);
  {
    const Tensor sum = add(residual, hidden);
    hidden = view(sum, sizes);
  }
  norm(f.row.after_mlp, hidden);
  return hidden;
}

// Positions count the mask's ones, which are fp32 where no mask is given.
void prepare(Forward& f) {
  NoGrad off(f.session);
  const bool given = static_cast<bool>(f.padding);
  const Shape sizes = f.ids.sizes();
  if (!given) f.padding = make(f.session, "aten.ones.default", sizes, DType::f32);
  const DType dtype = f.padding.dtype();
  f.position_ids = make(f.session, "aten.cumsum.default", sizes, dtype);
  {
    const Tensor product = make(f.session, "aten.mul.Tensor", sizes, dtype);
    const Tensor shifted = make(f.session, "aten.sub.Tensor", sizes, dtype);
    f.position_ids = to(shifted, DType::i64);
  }
  if (given) return prepare_masks(f);
  f.locals.push_back(f.padding);
  // Its own mask of ones is seen to mask nothing, where it can be looked at.
  if (!f.job.fake_tensors) f.padding.reset();
  prepare_masks(f);
  f.padding.reset();
}

Tensor embed(Forward& f, const Params& p) {
  const std::string base = base_prefix(f.row, f.model);
  f.inputs_embeds = adapted_embedding(f, p, base + std::string(f.row.embedding), f.ids);
  prepare(f);
  const Tensor rows = make(f.session, "aten.add.Tensor", f.ids.sizes(), DType::i64);
  const Tensor positions = embedding(p.get(base + std::string(f.row.positions), "weight"), rows);
  f.locals.push_back(positions);
  if (p.find(base + "decoder.project_in", "weight"))
    f.inputs_embeds = linear(f, p, base + "decoder.project_in", f.inputs_embeds);
  return add(f.inputs_embeds, positions);
}

Tensor finish(Forward& f, const Params& head, const Tensor& given) {
  const Tensor hidden = decoder_finish(f, head, given);
  const std::string out = base_prefix(f.row, f.model) + "decoder.project_out";
  return head.find(out, "weight") ? linear(f, head, out, hidden) : hidden;
}

}  // namespace

Family opt_family() { return {"opt", layer, embed, finish, causal_lm_loss, no_buffers}; }

}  // namespace memplan::hf
