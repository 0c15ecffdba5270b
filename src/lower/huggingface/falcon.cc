// transformers 5.12.1, models/falcon/modeling_falcon.py
#include "lower/huggingface/classic.h"
#include "lower/huggingface/versions.h"
#include "memplan/error.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

bool new_architecture(const ModelSpec& model) {
  return model.extra_or("new_decoder_architecture", 0) != 0;
}
bool uses_alibi(const ModelSpec& model) { return model.extra_or("alibi", 0) != 0; }

// FalconLinear: the bias is added apart.
Tensor falcon_linear(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  return linear(f, p, name, x, true);
}

// x[..., [i], :]: a copy; the index is a tensor that backward needs.
Tensor pick(const Tensor& x, int dim) {
  Session& s = x.session();
  const bool tracked = tracks(x);
  const Tensor index = make(s, "aten.lift_fresh.default", {1}, DType::i64);
  Saved kept;
  if (tracked) kept = Saved(index);
  Shape sizes = x.sizes();
  sizes[dim] = 1;
  Tensor out = make(s, "aten.index.Tensor", sizes, x.dtype());
  if (tracked)
    record({&out}, {&x}, [kept, full = x.sizes()](Grads& g) {
      const Tensor where = kept.get();
      const DType dtype = g.in().dtype();
      const Tensor zeros = make(g.session(), "aten.new_zeros.default", full, dtype);
      g.set(0, make(g.session(), "aten.index_put.default", full, dtype));
    });
  return out;
}

// x *= number or x /= number
Tensor scale_in_place(const Tensor& x, std::string_view op, std::string_view backward) {
  x.session().ledger.note(op);
  if (!tracks(x)) return x;
  Tensor out = x.detach();
  record({&out}, {&x},
         [backward](Grads& g) { g.set(0, pointwise(backward, {&g.in()}, g.in().dtype())); });
  return out;
}

// _split_heads: [b, s, heads, d] each.
void split_fused(const Forward& f, const Tensor& fused, Tensor& q, Tensor& k, Tensor& v) {
  const int64_t b = f.batch, s = f.sequence, d = f.model.head_dim;
  const int64_t heads = f.model.heads, kv = f.model.kv_heads;
  if (new_architecture(f.model)) {
    const int64_t group = heads / kv;
    const Tensor qkv = view(fused, {b, s, kv, group + 2, d});
    const Tensor query = slice(qkv, 3, 0, group);
    Tensor key = pick(qkv, 3);
    Tensor value = pick(qkv, 3);
    key = expand(key, query.sizes());
    value = expand(value, query.sizes());
    const Shape flat{b, s, heads, d};
    q = reshape(query, flat);
    k = reshape(key, flat);
    v = reshape(value, flat);
  } else if (kv == heads) {
    const Tensor qkv = view(fused, {b, s, heads, 3, d});
    q = select(qkv, 3);
    k = select(qkv, 3);
    v = select(qkv, 3);
  } else {
    const Tensor qkv = view(fused, {b, s, heads + 2, d});
    q = slice(qkv, 2, 0, heads);
    k = pick(qkv, 2);
    v = pick(qkv, 2);
  }
}

Tensor merge_heads(const Tensor& x) {
  const Tensor turned = permute(x, {0, 2, 1, 3});
  return reshape(turned, {x.size(0), x.size(2), x.size(1) * x.size(3)});
}

// Scores of the eager path; `hidden` is the dtype of the module's input.
Tensor eager_attention(const Forward& f, const Tensor& q, const Tensor& k, const Tensor& v,
                       DType hidden, Tensor& weights) {
  Tensor product;
  {
    const Tensor kt = transpose(k, -1, -2);
    product = matmul(q, kt);
  }
  Tensor logits;
  if (uses_alibi(f.model)) {
    Tensor scores = product;
    if (size_of(scores.dtype()) == 2) scores = to(scores, DType::f32);
    const Tensor alibi = view(f.shared.front(), {f.batch, f.model.heads, 1, f.sequence});
    logits = add(scores, alibi);
    logits = scale_in_place(logits, "aten.mul_.Tensor", "aten.mul.Tensor");
    {
      const Tensor masked = add(logits, f.causal_mask);
      const Tensor narrow = to(masked, hidden);
      weights = softmax(narrow);
    }
    weights = dropout(weights, f.model.dropout.attention);
    return matmul(weights, v);
  }
  product = scale_in_place(product, "aten.div_.Tensor", "aten.div.Tensor");
  {
    const Tensor masked = add(product, f.causal_mask);
    const Tensor narrow = to(masked, hidden);
    weights = softmax(narrow);
  }
  return matmul(weights, v);
}

Tensor attention(const Forward& f, const Params& p, const Tensor& x, Tensor& weights) {
  const Tensor fused = falcon_linear(f, p, f.row.attention.qkv, x);
  Tensor q, k, v;
  split_fused(f, fused, q, k, v);
  for (Tensor* y : {&q, &k, &v}) {
    const Tensor turned = transpose(*y, 1, 2);
    *y = reshape(turned, turned.sizes());
  }
  if (!uses_alibi(f.model)) apply_rotary(f.cos, f.sin, q, k);
  Tensor out;
  switch (f.job.strategy.attention) {
    case AttentionKind::flash: {
      const Tensor fq = transpose(q, 1, 2), fk = transpose(k, 1, 2), fv = transpose(v, 1, 2);
      out = flash_attention_2(fq, fk, fv, f.model.dropout.attention);
      out = reshape(out, x.sizes());
      return falcon_linear(f, p, f.row.attention.o, out);
    }
    case AttentionKind::sdpa:
      out = scaled_dot_product_attention(
          q, k, v,
          {.mask = f.causal_mask,
           .causal = !f.causal_mask,
           .dropout = uses_alibi(f.model) ? f.model.dropout.attention : 0});
      break;
    case AttentionKind::unfused:
      out = eager_attention(f, q, k, v, x.dtype(), weights);
      break;
  }
  out = merge_heads(out);
  return falcon_linear(f, p, f.row.attention.o, out);
}

Tensor mlp(const Forward& f, const Params& p, const Tensor& x) {
  Tensor y;
  {
    const Tensor up = falcon_linear(f, p, f.row.mlp.up, x);
    y = activation(up, f.model.activation);
  }
  return falcon_linear(f, p, f.row.mlp.down, y);
}

Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& given) {
  const bool parallel = f.row.residual == Residual::parallel;
  const bool two_norms = parallel && !f.row.before_mlp.empty();
  Tensor residual = given;
  const Tensor before = row_norm(f, p, f.row.before_attention, given);
  Tensor before_mlp = before;
  if (two_norms) before_mlp = row_norm(f, p, f.row.before_mlp, given);
  Tensor weights;
  const Tensor attended = attention(f, p, before, weights);
  if (!parallel) {
    residual = dropout_add(attended, residual, f.model.dropout.attention);
    before_mlp = row_norm(f, p, f.row.before_mlp, residual);
  }
  Tensor fed = mlp(f, p, before_mlp);
  if (parallel) fed = add_in_place(fed, attended);
  return dropout_add(fed, residual, f.model.dropout.hidden);
}

// The mask with alibi in it, in the embeddings' dtype: [b, heads, s, s].
void add_alibi_to_mask(Forward& f) {
  NoGrad off(f.session);
  const DType dtype = f.inputs_embeds.dtype();
  if (f.causal_mask.dtype() == DType::boolean) {
    const Tensor zero = make(f.session, "aten.lift_fresh.default", {}, dtype);
    f.causal_mask = where(f.causal_mask, zero, zero);
  }
  const Tensor alibi = view(f.shared.front(), {f.batch, f.model.heads, 1, f.sequence});
  const Tensor scaled = div_scalar(alibi);
  const Tensor low = pointwise("aten.lt.Scalar", {&f.causal_mask}, DType::boolean);
  f.causal_mask = masked_fill(scaled, low);
}

Tensor embed(Forward& f, const Params& p) {
  const std::string name = base_prefix(f.row, f.model) + std::string(f.row.embedding);
  const bool alibi = uses_alibi(f.model);
  if (alibi && causal_mask_form(f.job) == CausalMaskForm::filled)
    throw Error(ErrorKind::not_modelled, "--transformers-version",
                "falcon with alibi is not modelled before transformers 5.3",
                "use --transformers-version 5.3.0 or a later one, or --framework textbook");
  if (alibi && f.job.strategy.attention == AttentionKind::flash)
    throw Error(ErrorKind::not_modelled, "--attention",
                "transformers' falcon has no flash attention with alibi", "use --attention sdpa");
  f.inputs_embeds = adapted_embedding(f, p, name, f.ids);
  if (alibi) f.shared.push_back(build_alibi(f, DType::bf16, f.inputs_embeds.dtype()));
  prepare_positions(f);
  if (causal_mask_form(f.job) == CausalMaskForm::filled)
    prepare_masks(f);
  else
    prepare_forced_masks(f);
  if (alibi) add_alibi_to_mask(f);
  rotary_embedding(f, f.model.head_dim, f.cos, f.sin);
  return f.inputs_embeds;
}

}  // namespace

Family falcon_family() {
  return {"falcon", layer, embed, decoder_finish, causal_lm_loss, rotary_buffers};
}

}  // namespace memplan::hf
