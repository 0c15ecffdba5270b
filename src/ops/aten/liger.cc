#include "ops/aten/liger.h"

#include <algorithm>
#include <bit>

#include "ops/aten/autograd.h"

namespace memplan::aten::liger {
namespace {

constexpr std::string_view kEmpty = "aten.empty.memory_format";
constexpr std::string_view kEmptyLike = "aten.empty_like.default";

// partial.sum(dim=0).to(dtype) of [multiprocessors, width] in fp32
Tensor sum_partials(const Tensor& partial, DType dtype) {
  const Tensor whole = sum_dim(partial, 0);
  return to(whole, dtype);
}

// ensure_contiguous (ops/utils.py), within the function: without history
Tensor packed(const Tensor& x) { return contiguous(x.detach()); }

// (target != ignore_index), and its sum, which Python reads at once
Tensor target_mask(const Tensor& labels) {
  Tensor mask = make(labels.session(), "aten.ne.Scalar", labels.sizes(), DType::boolean);
  sum(mask);
  return mask;
}

// torch.equal(grad_output, torch.tensor(1.0)): equal, so nothing is multiplied
void compare_with_one(Grads& g) { make(g.session(), "aten.lift_fresh.default", {}, DType::f32); }

}  // namespace

Tensor rms_norm(const Tensor& given, const Tensor& weight, const Device& device, bool in_place) {
  Session& session = given.session();
  const Tensor x = packed(given);
  const int64_t width = x.size(-1);
  const int64_t rows = x.elements() / width;
  Tensor out = make(session, kEmpty, x.sizes(), x.dtype());
  const Tensor rstd = make(session, kEmpty, {rows}, DType::f32);
  if (!tracks({&given, &weight})) return out;
  const Saved kx(x), kw(weight), kr(rstd);
  record({&out}, {&given, &weight}, [=, sms = device.multiprocessors](Grads& g) {
    const Tensor gradient = packed(g.in());
    const Tensor input = kx.get();
    const Tensor w = kw.get();
    const Tensor r = kr.get();
    Tensor partial;
    if (g.wants(1)) partial = make(g.session(), kEmpty, {sms, width}, DType::f32);
    g.set(0, in_place ? gradient
                      : pointwise("aten.zeros_like.default", {&gradient}, gradient.dtype()));
    if (partial) g.set(1, sum_partials(partial, w.dtype()));
  });
  return out;
}

Tensor layer_norm(const Tensor& given, const Tensor& weight, const Tensor& bias,
                  const Device& device) {
  Session& session = given.session();
  const Tensor x = packed(given);
  const int64_t width = x.size(-1);
  const int64_t rows = x.elements() / width;
  Tensor out = make(session, kEmpty, x.sizes(), x.dtype());
  const Tensor mean = make(session, kEmpty, {rows}, DType::f32);
  const Tensor rstd = make(session, kEmpty, {rows}, DType::f32);
  if (!tracks({&given, &weight, &bias})) return out;
  const Saved kx(x), kw(weight), kb(bias), km(mean), kr(rstd);
  record({&out}, {&given, &weight, &bias}, [=, sms = device.multiprocessors](Grads& g) {
    const Tensor gradient = packed(g.in());
    const Tensor input = kx.get();
    const Tensor parameters[] = {kw.get(), kb.get()};
    const Tensor m = km.get();
    const Tensor r = kr.get();
    Tensor partials[2];
    for (int i : {0, 1})
      if (g.wants(i + 1)) partials[i] = make(g.session(), kEmpty, {sms, width}, DType::f32);
    g.set(0, make(g.session(), kEmpty, input.sizes(), input.dtype()));
    for (int i : {0, 1})
      if (partials[i]) g.set(i + 1, sum_partials(partials[i], parameters[i].dtype()));
  });
  return out;
}

Tensor gated(const Tensor& gate, const Tensor& up) {
  const Tensor a = packed(gate);
  const Tensor b = packed(up);
  Tensor out = pointwise(kEmptyLike, {&a}, a.dtype());
  if (!tracks({&gate, &up})) return out;
  const Saved ka(a), kb(b);
  record({&out}, {&gate, &up}, [ka, kb](Grads& g) {
    const Tensor gradient = packed(g.in());
    g.set(0, ka.get());
    g.set(1, kb.get());
  });
  return out;
}

void rope(Tensor& q, Tensor& k, const Tensor& cos, const Tensor& sin) {
  const bool tracked = tracks({&q, &k});
  // As the kernel sees them: [b, s, heads, d], contiguous.
  const auto turned = [](const Tensor& x) {
    const Tensor physical = packed(transpose(x.detach(), 1, 2));
    return transpose(physical, 1, 2);
  };
  Tensor turned_q = turned(q);
  Tensor turned_k = turned(k);
  if (tracked) {
    const Saved kc(cos), ks(sin);
    record({&turned_q, &turned_k}, {&q, &k}, [kc, ks, turned](Grads& g) {
      const Tensor c = kc.get();
      const Tensor s = ks.get();
      for (int i : {0, 1})
        if (g.in(i)) g.set(i, turned(g.in(i)));
    });
  }
  q = std::move(turned_q);
  k = std::move(turned_k);
}

Tensor cross_entropy(const Tensor& logits, const Tensor& labels) {
  Session& session = logits.session();
  const Tensor losses = make(session, "aten.zeros.default", labels.sizes(), logits.dtype());
  const Tensor mask = target_mask(labels);
  for (std::string_view bound : {"aten.max.default", "aten.min.default"}) {
    const Tensor masked = pointwise("aten.mul.Tensor", {&labels, &mask}, DType::i64);
    make(session, bound, {}, DType::i64);
  }
  Tensor out = sum(losses);
  if (!tracks(logits)) return out;
  const Saved kept(logits.detach());
  record({&out}, {&logits}, [kept](Grads& g) {
    compare_with_one(g);
    g.set(0, kept.get());
  });
  return out;
}

int64_t chunk_rows(int64_t rows, int64_t width, int64_t vocabulary) {
  const int64_t wanted = ceil_div(rows, ceil_div(vocabulary, width));
  return std::min(static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(wanted))), rows);
}

Tensor fused_linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& labels,
                                  const Device& device) {
  Session& session = x.session();
  const bool tracked = tracks({&x, &weight});
  const bool weight_trained = tracks(weight);
  Tensor out, grad_input, grad_weight;
  {
    NoGrad off(session);
    const int64_t rows = x.size(0), vocabulary = weight.size(0);
    const int64_t chunk = chunk_rows(rows, x.size(1), vocabulary);
    grad_input = pointwise("aten.zeros_like.default", {&x}, x.dtype());
    if (weight_trained)
      grad_weight = pointwise("aten.zeros_like.default", {&weight}, weight.dtype());
    const Tensor losses = make(session, "aten.zeros.default", {rows}, DType::f32);
    const Tensor mask = target_mask(labels);
    // _can_use_mm_out: products are written into place where nothing needs a cast
    const bool same =
        x.dtype() == weight.dtype() && (!session.autocast || *session.autocast == x.dtype());
    const bool out_of = session.backend == Backend::cuda && same;
    Tensor buffer;
    if (out_of) buffer = make(session, kEmpty, {chunk, vocabulary}, x.dtype());
    for (int64_t at = 0; at < rows; at += chunk) {
      const int64_t length = std::min(chunk, rows - at);
      const Tensor part = slice(x, 0, at, length);
      Tensor logits;
      if (out_of) {
        logits = slice(buffer, 0, 0, length);
        session.ledger.note("aten.mm.out");
      } else {
        const Tensor wt = t(weight);
        logits = matmul(part, wt);
      }
      if (out_of)
        session.ledger.note("aten.mm.out");
      else
        matmul(logits, weight);
      if (!grad_weight) continue;
      const bool narrow = size_of(logits.dtype()) == 2;
      const bool accumulates =
          session.backend == Backend::cuda && device.compute_major >= 8 && narrow &&
          (grad_weight.dtype() == logits.dtype() ||
           (grad_weight.dtype() == DType::f32 && session.torch >= Version{2, 8, 0}));
      if (accumulates) {
        const Tensor cast = to(part, logits.dtype());
        session.ledger.note("aten.addmm.out");
      } else {
        const Tensor columns = t(logits);
        const Tensor product = matmul(columns, part);
        to(product, DType::f32);
        session.ledger.note("aten.add_.Tensor");
      }
    }
    buffer.reset();
    out = sum(losses);
  }
  if (!tracked) return out;
  const Saved ki(grad_input);
  Saved kw;
  if (grad_weight) kw = Saved(grad_weight);
  record({&out}, {&x, &weight}, [ki, kw, weight_trained](Grads& g) {
    compare_with_one(g);
    g.set(0, ki.get());
    if (weight_trained) g.set(1, kw.get());
  });
  return out;
}

}  // namespace memplan::aten::liger
