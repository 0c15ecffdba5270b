// transformers 5.12.1, models/bloom/modeling_bloom.py
#include "lower/huggingface/classic.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// GeLUFunction: keeps its input and nothing between.
Tensor bloom_gelu(const Tensor& x) {
  const bool tracked = tracks(x);
  Saved kept;
  if (tracked) kept = Saved(x);
  // 0.79788456 * y * (1 + 0.044715 * y * y)
  const auto inner = [](const Tensor& y) {
    const Tensor scaled = mul_scalar(y);
    Tensor cubic = mul_scalar(y);
    cubic = mul(cubic, y);
    cubic = add_scalar(cubic);
    return mul(scaled, cubic);
  };
  Tensor out;
  {
    const NoGrad off(x.session());
    const Tensor half = mul_scalar(x);
    Tensor y = inner(x);
    y = aten::tanh(y);
    y = add_scalar(y);
    out = mul(half, y);
  }
  if (!tracked) return out;
  record({&out}, {&x}, [kept, inner](Grads& g) {
    const Tensor y = kept.get();
    Tensor t = inner(y);
    t = aten::tanh(t);
    Tensor ff;
    {
      Tensor left = mul_scalar(y);
      {
        Tensor slope = mul(t, t);
        slope = pointwise("aten.rsub.Scalar", {&slope}, slope.dtype());
        Tensor poly = mul_scalar(y);
        poly = mul(poly, y);
        poly = add_scalar(poly);
        slope = mul(slope, poly);
        poly.reset();
        left = mul(left, slope);
      }
      Tensor right = add_scalar(t);
      right = mul_scalar(right);
      ff = add(left, right);
    }
    g.set(0, mul(ff, g.in()));
  });
  return out;
}

// alibi.baddbmm(batch1, batch2, beta, alpha): alibi needs no gradient.
Tensor baddbmm(const Tensor& given, const Tensor& left, const Tensor& right) {
  Session& s = given.session();
  const Tensor self = s.cast_for_autocast(given);
  const Tensor a = s.cast_for_autocast(left);
  const Tensor b = s.cast_for_autocast(right);
  Saved ka, kb;
  if (tracks(b)) ka = Saved(a);
  if (tracks(a)) kb = Saved(b);
  Tensor out = make(s, "aten.baddbmm.default", {a.size(0), a.size(1), b.size(2)}, a.dtype());
  if (!tracks({&a, &b})) return out;
  record({&out}, {&a, &b}, [ka, kb](Grads& g) {
    const auto scaled = [&](const Tensor& x, const Tensor& y) {
      const Tensor product = bmm(x, y);
      return pointwise("aten.mul.Scalar", {&product}, product.dtype());
    };
    if (g.wants(0)) {
      const Tensor batch2 = kb.get();
      g.set(0, scaled(g.in(), transpose(batch2, 1, 2)));
    }
    if (g.wants(1)) {
      const Tensor batch1 = ka.get();
      g.set(1, scaled(transpose(batch1, 1, 2), g.in()));
    }
  });
  return out;
}

// Every variable of BloomAttention.forward lives until it returns.
Tensor attention(const Forward& f, const Params& p, const Tensor& x, const Tensor& residual,
                 Tensor& weights) {
  const AttentionRow& row = f.row.attention;
  const int64_t b = f.batch, s = f.sequence, heads = f.model.heads, d = f.model.head_dim;
  const Tensor fused = linear(f, p, row.qkv, x);
  const Tensor qkv = view(fused, {b, s, heads, 3, d});
  const auto part = [&] {
    const Tensor one = select(qkv, 3);
    return transpose(one, 1, 2);
  };
  Tensor q = part();
  Tensor k = part();
  Tensor v = part();
  const auto flatten = [&](const Tensor& y) { return reshape(y, {b * heads, s, d}); };
  q = flatten(q);
  k = flatten(k);
  k = transpose(k, -1, -2);
  v = flatten(v);
  const Tensor scores = baddbmm(f.shared.front(), q, k);
  Tensor masked = view(scores, {b, heads, s, s});
  if (f.causal_mask) masked = add(masked, f.causal_mask);
  {
    const Tensor soft = softmax_f32(masked);
    weights = to(soft, q.dtype());
  }
  weights = dropout(weights, f.model.dropout.attention);
  const Tensor flat = view(weights, {b * heads, s, s});
  Tensor context;
  {
    const Tensor left = f.session.cast_for_autocast(flat);
    const Tensor right = f.session.cast_for_autocast(v);
    context = bmm(left, right);
  }
  {
    Tensor split = view(context, {b, heads, s, d});
    split = permute(split, {0, 2, 1, 3});
    context = reshape(split, {b, s, heads * d});
  }
  Tensor out = linear(f, p, row.o, context);
  return dropout_add(out, residual, f.model.dropout.hidden);
}

Tensor mlp(const Forward& f, const Params& p, const Tensor& x, const Tensor& residual) {
  Tensor hidden;
  {
    const Tensor up = linear(f, p, f.row.mlp.up, x);
    hidden = bloom_gelu(up);
  }
  const Tensor out = linear(f, p, f.row.mlp.down, hidden);
  return dropout_add(out, residual, f.model.dropout.hidden);
}

Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& given) {
  const bool after_norm = f.model.extra_or("apply_residual_connection_post_layernorm", 0) != 0;
  Tensor normed = row_norm(f, p, f.row.before_attention, given);
  Tensor residual = after_norm ? normed : given;
  Tensor weights;
  const Tensor attended = attention(f, p, normed, residual, weights);
  normed = row_norm(f, p, f.row.before_mlp, attended);
  residual = after_norm ? normed : attended;
  return mlp(f, p, normed, residual);
}

Tensor embed(Forward& f, const Params& p) {
  const std::string base = base_prefix(f.row, f.model);
  f.inputs_embeds = adapted_embedding(f, p, base + std::string(f.row.embedding), f.ids);
  const Tensor hidden = row_norm(f, p, base + std::string(f.row.embedding_norm), f.inputs_embeds);
  const bool given = static_cast<bool>(f.padding);
  if (!given) f.padding = make(f.session, "aten.ones.default", f.ids.sizes(), DType::f32);
  f.shared.push_back(build_alibi(f, DType::f32, hidden.dtype()));
  prepare_eager_masks(f);
  if (!given) {
    f.locals.push_back(f.padding);
    f.padding.reset();
  }
  return hidden;
}

}  // namespace

Family bloom_family() {
  return {"bloom", layer, embed, decoder_finish, causal_lm_loss, no_buffers};
}

}  // namespace memplan::hf
