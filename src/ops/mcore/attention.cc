#include "ops/mcore/attention.h"

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::mcore {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

// ScaledMaskedSoftmax: keeps its result; its backward writes over the gradient it is given.
Tensor fused_softmax(const Tensor& x) {
  Tensor out = make(x.session(), "scaled_masked_softmax_forward", x.sizes(), x.dtype());
  if (!tracks(x)) return out;
  const Saved kept(out);
  record({&out}, {&x}, [kept](Grads& g) {
    const Tensor result = kept.get();
    Tensor grad = contiguous(g.in());
    g.session().ledger.note("scaled_masked_softmax_backward");
    g.set(0, std::move(grad));
  });
  return out;
}

// FusedScaleMaskSoftmax.forward_torch_softmax
Tensor torch_softmax(const Tensor& given, bool in_fp32) {
  Tensor x = in_fp32 ? to(given, DType::f32) : given;
  x = masked_fill(
      x, make(x.session(), "aten.logical_or.default", {x.size(-2), x.size(-1)}, DType::boolean));
  x = softmax(x);
  return to(x, given.dtype());
}

// repeat_interleave of the key-value heads: a copy.
Tensor repeat_heads(const Tensor& x, int64_t heads) {
  if (x.size(2) == heads) return x;
  const int64_t times = heads / x.size(2);
  const Tensor wide = expand(unsqueeze(x, 3), {x.size(0), x.size(1), x.size(2), times, x.size(3)});
  const Tensor copy = clone(wide);
  return view(copy, {x.size(0), x.size(1), heads, x.size(3)});
}

Tensor unfused(const Tensor& q, Tensor k, Tensor v, const AttentionOptions& options,
               const Group& group) {
  Session& session = q.session();
  const int64_t s = q.size(0), b = q.size(1), heads = q.size(2);
  const int64_t keys = k.size(0);
  Tensor mask;  // utils.py, get_full_mask
  if (options.padded && !group.local)
    mask = make(session, "aten.logical_or.default", {b, 1, s, keys}, DType::boolean);
  k = repeat_heads(k, heads);
  v = repeat_heads(v, heads);
  const auto batched = [&](const Tensor& x) {
    return transpose(reshape(x, {x.size(0), b * heads, x.size(3)}), 0, 1);
  };
  Tensor scores;
  {
    // What baddbmm is given to add to, times zero.
    Tensor nothing;
    const Shape sizes{b * heads, s, keys};
    if (group.local) {
      *group.buffer =
          std::max(*group.buffer, checked_mul(product({b, heads, s, keys}), size_of(q.dtype())));
    } else {
      nothing = make(session, "aten.empty.memory_format", sizes, q.dtype());
    }
    scores = bmm(batched(q), transpose(batched(k), 1, 2));
  }
  scores = view(scores, {b, heads, s, keys});
  Tensor probabilities = options.fused_softmax ? fused_softmax(scores)
                                               : torch_softmax(scores, options.softmax_in_fp32);
  scores.reset();
  // Rows of padding are zeroed behind the softmax.
  if (mask) probabilities = masked_fill(probabilities, mask);
  probabilities = dropout(probabilities, options.dropout);
  Tensor out = bmm(view(probabilities, {b * heads, s, keys}), batched(v));
  probabilities.reset();
  out = view(out, {b, heads, s, v.size(3)});
  out = contiguous(permute(out, {2, 0, 1, 3}));
  return view(out, {s, b, heads * v.size(3)});
}

// PackTensors and UnpackTensor: rows brought together by an index that is kept, in one kernel
// (_pack_tensor is compiled). The index is filled up to all rows, so that the size stays.
Tensor packed(const Tensor& x, const Tensor& index, std::string_view name) {
  Tensor out = make(x.session(), name, x.sizes(), x.dtype());
  if (!tracks(x)) return out;
  const Saved kept(index);
  record({&out}, {&x}, [kept, name, sizes = x.sizes()](Grads& g) {
    const Tensor rows = kept.get();
    g.set(0, make(g.session(), name, sizes, g.in().dtype()));
  });
  return out;
}

// utils.py, get_indices
Tensor row_index(const Tensor& x) {
  return make(x.session(), "aten.where.default", {x.size(0) * x.size(1)}, DType::i64);
}

// flash_attn_func, or flash_attn_varlen_func, between two changes of layout.
Tensor flash(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  const auto rows_first = [](const Tensor& x) { return contiguous(transpose(x, 0, 1)); };
  Tensor out;
  if (options.padded) {
    const Tensor queries = row_index(q);
    const Tensor keys = q.size(0) == k.size(0) ? queries : row_index(k);
    const auto pack = [&](const Tensor& x, const Tensor& index) {
      return packed(rows_first(x), index, "_pack_tensor");
    };
    out = flash_attention_2(pack(q, queries), pack(k, keys), pack(v, keys), options.dropout);
    out = packed(out, queries, "_unpack_tensor");
  } else {
    out = flash_attention_2(rows_first(q), rows_first(k), rows_first(v), options.dropout);
  }
  out = contiguous(transpose(out, 0, 1));
  return view(out, {out.size(0), out.size(1), out.size(2) * out.size(3)});
}

// FusedAttnFunc: keeps q, k, v as they lie, the output and the softmax statistics. Where q, k and v
// are parts of one tensor so are their gradients; where no layout fits they are copied first
// (utils.py, get_qkv_layout).
Tensor fused(Tensor q, Tensor k, Tensor v) {
  Session& session = q.session();
  const bool one_tensor = q->storage.get() == k->storage.get();
  // Keys and values of cross-attention, head by head: sbhd_sbh2d.
  const bool pair = k->storage.get() == v->storage.get() && k.strides()[2] == 2 * k.size(3);
  if (!one_tensor && !pair) {
    q = contiguous(q);
    k = contiguous(k);
    v = contiguous(v);
  }
  const int64_t s = q.size(0), b = q.size(1), heads = q.size(2);
  Tensor out = allocate(session, {s, b, heads * v.size(3)}, q.dtype());
  Tensor stats = allocate(session, {b, heads, s, 1}, DType::f32);
  session.ledger.note("transformer_engine.fused_attn_fwd");
  if (!tracks({&q, &k, &v})) return out;
  const Saved kq(q, ReadBy::kernel), kk(k, ReadBy::kernel), kv(v, ReadBy::kernel),
      ko(out, ReadBy::kernel), ks(stats);
  record({&out}, {&q, &k, &v}, [=](Grads& g) {
    const Tensor parts[] = {kq.get(), kk.get(), kv.get()};
    const Tensor result = ko.get();
    const Tensor statistics = ks.get();
    Tensor grads[3];
    for (int i = 0; i < 3; ++i)
      grads[i] = allocate(g.session(), parts[i].sizes(), parts[i].dtype());
    g.session().ledger.note("transformer_engine.fused_attn_bwd");
    for (int i = 0; i < 3; ++i) g.set(i, std::move(grads[i]));
  });
  return out;
}

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
              const Group& group) {
  switch (options.backend) {
    case AttentionBackend::flash:
      return flash(q, k, v, options);
    case AttentionBackend::fused:
      return fused(q, k, v);
    case AttentionBackend::unfused:
    case AttentionBackend::local:
      break;
  }
  return unfused(q, k, v, options, group);
}

// flash_attn_a2a_communicate: a part of the heads of the whole sequence for all heads of a part of
// it, or back.
Tensor exchanged(const Tensor& x, const Shape& sizes) {
  Tensor out = make(x.session(), "c10d.all_to_all_single", sizes, x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [before = x.sizes()](Grads& g) {
      g.set(0, make(g.session(), "c10d.all_to_all_single", before, g.in().dtype()));
    });
  return out;
}

}  // namespace

Tensor core_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                      const AttentionOptions& options, const Group& group) {
  const int64_t ranks = options.exchange;
  if (ranks == 1) return attend(q, k, v, options, group);
  const auto heads_for_sequence = [ranks](const Tensor& x) {
    return exchanged(x, {x.size(0) * ranks, x.size(1), x.size(2) / ranks, x.size(3)});
  };
  const Tensor out =
      attend(heads_for_sequence(q), heads_for_sequence(k), heads_for_sequence(v), options, group);
  return exchanged(out, {q.size(0), q.size(1), q.size(2) * v.size(3)});
}

Heads split_heads(const Tensor& mixed, int64_t heads, int64_t kv_heads, int64_t head_dim) {
  const int64_t s = mixed.size(0), b = mixed.size(1);
  const int64_t own = heads / kv_heads * head_dim;
  const Tensor groups = view(mixed, {s, b, kv_heads, own + 2 * head_dim});
  std::vector<Tensor> parts = split(groups, {own, head_dim, head_dim});
  return {reshape(parts[0], {s, b, heads, head_dim}), parts[1], parts[2]};
}

}  // namespace memplan::mcore
