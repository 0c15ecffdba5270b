// transformers 5.12.1, models/deberta_v2/modeling_deberta_v2.py
#include "lower/deberta.h"

#include <string>
#include <utility>

#include "lower/huggingface/encoders.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// Forward::shared: what DebertaV2Encoder gives to every layer.
enum Shared : size_t { kMask, kDistances, kDistanceRows, kConvolved, kSharedCount };

// Tensor.repeat(times, 1, 1)
Tensor repeat_first(const Tensor& x, int64_t times) {
  Shape sizes = x.sizes();
  const int64_t own = sizes[0];
  sizes[0] = checked_mul(own, times);
  Tensor out = make(x.session(), "aten.repeat.default", sizes, x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [own, times](Grads& g) {
      const Tensor& grad = g.in();
      if (times == 1) return g.set(0, grad);
      const Tensor parts = reshape(grad, {times, own, grad.size(1), grad.size(2)});
      g.set(0, sum_dim(parts, 0));
    });
  return out;
}

// scaled_size_sqrt: of no dimensions, fp32.
Tensor scale_of(Session& s) {
  const Tensor size = make(s, "aten._to_copy.default", {}, DType::f32);
  const Tensor scaled = make(s, "aten.mul.Scalar", {}, DType::f32);
  return make(s, "aten.sqrt.default", {}, DType::f32);
}

// x / scale.to(x.dtype)
Tensor divide(const Tensor& x, const Tensor& scale) {
  const Tensor own = to(scale, x.dtype());
  return div(x, own);
}

// transpose_for_scores: [b, s, heads·d] -> [b·heads, s, d]
Tensor heads_first(const Tensor& x, int64_t heads) {
  const int64_t b = x.size(0), s = x.size(1), d = x.size(2) / heads;
  const Tensor parts = view(x, {b, s, heads, d});
  const Tensor turned = contiguous(permute(parts, {0, 2, 1, 3}));
  return view(turned, {b * heads, s, d});
}

class Attention {
 public:
  Attention(const Forward& f, const Params& p) : f_(f), p_(p) {}

  Tensor operator()(const Tensor& x) const {
    const AttentionRow& row = f_.row.attention;
    const Tensor q = project(row.q, x);
    const Tensor k = project(row.k, x);
    const Tensor v = project(row.v, x);
    const Tensor scale = scale_of(f_.session);
    Tensor scores;
    {
      const Tensor kt = transpose(k, -1, -2);
      const Tensor scaled = divide(kt, scale);
      scores = matmul(q, scaled);
    }
    Tensor relative, rows = f_.shared[kDistanceRows];
    if (rows) {
      rows = dropout(rows, f_.model.dropout.hidden);
      relative = relative_scores(q, k, rows);
    }
    if (relative) scores = add(scores, relative);
    const int64_t heads = f_.model.heads, s = f_.sequence;
    scores = view(scores, {f_.batch, heads, s, s});
    const Tensor mask = to(f_.shared[kMask], DType::boolean);
    {
      const Tensor hidden = pointwise("aten.bitwise_not.default", {&mask}, DType::boolean);
      scores = masked_fill(scores, hidden);
    }
    Tensor weights = autocast_softmax(scores);
    weights = dropout(weights, f_.model.dropout.attention);
    Tensor out;
    {
      const Tensor flat = view(weights, {f_.batch * heads, s, s});
      out = matmul(flat, v);
    }
    out = contiguous(permute(view(out, {f_.batch, heads, s, out.size(-1)}), {0, 2, 1, 3}));
    return view(out, {f_.batch, s, out.size(2) * out.size(3)});
  }

 private:
  Tensor project(std::string_view name, const Tensor& x) const {
    return heads_first(linear(f_, p_, name, x), f_.model.heads);
  }

  // disentangled_attention_bias
  Tensor relative_scores(const Tensor& q, const Tensor& k, const Tensor& given) const {
    const bool shared = f_.model.extra_or("share_att_key", 0) != 0;
    const bool of_content = asks(f_.model, DistanceScores::content_to_position);
    const bool of_position = asks(f_.model, DistanceScores::position_to_content);
    const Tensor rows = unsqueeze(given, 0);
    const auto distances = [&](std::string_view own, std::string_view of) {
      return repeat_first(project(shared ? of : own, rows), f_.batch);
    };
    const AttentionRow& row = f_.row.attention;
    Tensor keys, queries;
    if (shared) queries = distances({}, row.q);
    if (shared || of_content) keys = distances("attention.self.pos_key_proj", row.k);
    if (!shared && of_position) queries = distances("attention.self.pos_query_proj", row.q);
    Tensor score, scale, by_key, by_query, key_places, query_places;
    if (of_content) {
      scale = scale_of(f_.session);
      by_key = matmul(q, transpose(keys, -1, -2));
      key_places = places(false);
      by_key = gather(by_key, wide(key_places));
      const Tensor divided = divide(by_key, scale);
      score = add_scalar(divided);
    }
    if (of_position) {
      scale = scale_of(f_.session);
      query_places = places(true);
      by_query = matmul(k, transpose(queries, -1, -2));
      by_query = transpose(gather(by_query, wide(query_places)), -1, -2);
      const Tensor divided = divide(by_query, scale);
      score = score ? add_in_place(score, divided) : add_scalar(divided);
    }
    return score;
  }

  // clamp(±relative_pos + att_span): [1, s, s]
  Tensor places(bool negated) const {
    const NoGrad off(f_.session);
    Tensor distance = f_.shared[kDistances];
    if (negated) distance = neg(distance);
    distance = add_scalar(distance);
    return pointwise("aten.clamp.default", {&distance}, DType::i64);
  }
  Tensor wide(const Tensor& at) const {
    return expand(at, {f_.batch * f_.model.heads, f_.sequence, f_.sequence});
  }

  const Forward& f_;
  const Params& p_;
};

Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& hidden) {
  Tensor x = Attention(f, p)(hidden);
  x = dense_add_norm(f, p, f.row.attention.o, f.row.after_attention, x, hidden);
  return encoder_mlp(f, p, x);
}

Tensor embeddings(Forward& f, const Params& p, const Tensor& mask) {
  const std::string base = base_prefix(f.row, f.model);
  const auto table = [&](std::string_view name) {
    return p.find(base + std::string(name), "weight");
  };
  const Tensor words = embedding(table(f.row.embedding), f.ids);
  Tensor positions, types, x = words;
  if (const Tensor rows = table(f.row.positions)) {
    positions = embedding(rows, alias(f.ids, {1, f.sequence}, {f.sequence, 1}));
    x = add(x, positions);
  } else {
    positions = pointwise("aten.zeros_like.default", {&words}, words.dtype());
  }
  if (const Tensor rows = table("embeddings.token_type_embeddings")) {
    types = embedding(rows, f.locals[1]);
    x = add(x, types);
  }
  if (table("embeddings.embed_proj")) x = linear(f, p, base + "embeddings.embed_proj", x);
  x = row_norm(f, p, base + std::string(f.row.embedding_norm), x);
  const Tensor kept = to(unsqueeze(mask, 2), x.dtype());
  x = mul(x, kept);
  return dropout(x, f.model.dropout.embedding);
}

// build_relative_position: [1, s, s] int64, in logarithmic buckets where there are any.
Tensor relative_positions(const Forward& f) {
  Session& s = f.session;
  const NoGrad off(s);
  const Shape square{f.sequence, f.sequence};
  const Tensor rows = make(s, "aten.arange.default", {f.sequence}, DType::i64);
  const Tensor columns = make(s, "aten.arange.default", {f.sequence}, DType::i64);
  Tensor distance = make(s, "aten.sub.Tensor", square, DType::i64);
  if (f.model.extra_or("position_buckets", -1) > 0) {
    const Tensor bucket = pointwise("aten.where.self", {&distance}, DType::f32);
    distance = to(bucket, DType::i64);
  }
  return unsqueeze(distance, 0);
}

Tensor embed(Forward& f, const Params& p) {
  require_eager(f);
  Session& s = f.session;
  const Tensor mask =
      f.padding ? f.padding : make(s, "aten.ones.default", f.ids.sizes(), DType::f32);
  f.locals.push_back(mask);
  f.locals.push_back(make(s, "aten.zeros.default", f.ids.sizes(), DType::i64));
  f.inputs_embeds = embeddings(f, p, mask);
  f.shared.resize(kSharedCount);
  {
    const Tensor columns = unsqueeze(unsqueeze(mask, 1), 2);
    const Tensor rows = unsqueeze(unsqueeze(mask, 1), 3);
    f.shared[kMask] = pointwise("aten.mul.Tensor", {&columns, &rows}, mask.dtype());
  }
  const std::string encoder = base_prefix(f.row, f.model) + "encoder.";
  if (Tensor rows = p.find(encoder + "rel_embeddings", "weight")) {
    f.shared[kDistances] = relative_positions(f);
    if (p.find(encoder + "LayerNorm", "weight")) rows = row_norm(f, p, encoder + "LayerNorm", rows);
    f.shared[kDistanceRows] = rows;
  }
  if (f.model.extra_or("conv_kernel_size", 0) > 0) f.shared[kConvolved] = f.inputs_embeds;
  return f.inputs_embeds;
}

// nn.Conv1d of [b, h, s] that keeps the length.
Tensor convolution(const Tensor& given, const Tensor& given_weight, const Tensor& given_bias) {
  Session& session = given.session();
  const Tensor bias = session.cast_for_autocast(given_bias);
  const Tensor weight = session.cast_for_autocast(given_weight);
  const Tensor x = session.cast_for_autocast(given);
  const bool tracked = tracks({&x, &weight, &bias});
  Saved kx, kw;
  if (tracked) {
    kx = Saved(x);
    kw = Saved(weight);
  }
  Tensor out = make(session, "aten.convolution.default", x.sizes(), x.dtype());
  if (tracked)
    record({&out}, {&x, &weight, &bias}, [kx, kw](Grads& g) {
      const Tensor input = kx.get();
      const Tensor filter = kw.get();
      const Shape sizes[] = {input.sizes(), filter.sizes(), {filter.size(0)}};
      Tensor grads[3];
      for (int i = 0; i < 3; ++i)
        if (g.wants(i)) grads[i] = allocate(g.session(), sizes[i], input.dtype());
      g.session().ledger.note("aten.convolution_backward.default");
      for (int i = 0; i < 3; ++i) g.set(i, std::move(grads[i]));
    });
  return out;
}

// ConvLayer: of the embeddings, added to the first layer's output. Its activation, tanh or gelu,
// keeps one tensor either way; published configs name gelu.
Tensor convolve(const Forward& f, const Params& p, const Tensor& embedded, const Tensor& residual) {
  const std::string name = base_prefix(f.row, f.model) + "encoder.conv";
  const Tensor input_mask = f.locals.front();
  Tensor out;
  {
    const Tensor channels = contiguous(permute(embedded, {0, 2, 1}));
    const Tensor y = convolution(channels, p.get(name, "conv.weight"), p.get(name, "conv.bias"));
    out = contiguous(permute(y, {0, 2, 1}));
  }
  Tensor hidden;
  {
    const Tensor rest = pointwise("aten.rsub.Scalar", {&input_mask}, input_mask.dtype());
    hidden = to(rest, DType::boolean);
  }
  out = masked_fill_in_place(out, expand(unsqueeze(hidden, 2), out.sizes()));
  {
    const Tensor dropped = dropout(out, f.model.dropout.hidden);
    out = activation(dropped, "gelu");
  }
  const Tensor sum = add(residual, out);
  const Tensor normed = to(row_norm(f, p, name + ".LayerNorm", sum), sum.dtype());
  const Tensor kept = to(unsqueeze(input_mask, 2), normed.dtype());
  return mul(normed, kept);
}

// DebertaV2Model asks for all hidden states.
Tensor after_layer(Forward& f, const Params& embedding, const Tensor& given) {
  Tensor hidden = given;
  if (const Tensor embedded = std::exchange(f.shared[kConvolved], Tensor()))
    hidden = convolve(f, embedding, embedded, hidden);
  f.locals.push_back(hidden);
  return hidden;
}

// position_ids
int64_t buffers(const Job& job) {
  return checked_mul(size_of(DType::i64), job.model.max_positions);
}

}  // namespace

Family deberta_family() {
  return {"deberta-v2", layer, embed, decoder_finish, encoder_loss, buffers, nullptr, after_layer};
}

}  // namespace memplan::hf
