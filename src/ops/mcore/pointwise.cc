#include "ops/mcore/pointwise.h"

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::mcore {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

Tensor bias_dropout_add(const Tensor& x, const Tensor& bias, const Tensor& residual, double p) {
  Session& session = x.session();
  Tensor out = allocate(session, residual.sizes(), residual.dtype());
  Tensor mask;
  if (p > 0) mask = allocate(session, x.sizes(), DType::boolean);
  session.ledger.note("bias_dropout_add_fused_train");
  if (!tracks({&x, &bias, &residual})) return out;
  Saved kept;
  if (mask) kept = Saved(mask);
  record({&out}, {&x, &bias, &residual}, [kept, bias, p, dtype = x.dtype()](Grads& g) {
    Tensor grad = g.in();
    if (p > 0) {
      const Tensor drops = kept.get();
      grad = make(g.session(), "bias_dropout_add_fused_train backward", drops.sizes(), dtype);
    }
    if (bias && g.wants(1))
      g.set(1, make(g.session(), "aten.sum.dim_IntList", bias.sizes(), bias.dtype()));
    g.set(0, std::move(grad));
    g.set(2, g.in());
  });
  return out;
}

Tensor bias_activation(const Tensor& x, const Tensor& bias, bool gated) {
  Session& session = x.session();
  Shape sizes = x.sizes();
  if (gated) sizes[-1] /= 2;
  Tensor out = make(session, "bias_activation", sizes, x.dtype());
  if (!tracks(x)) return out;
  const Saved kept(x);
  record({&out}, {&x, &bias}, [kept, has_bias = static_cast<bool>(bias)](Grads& g) {
    const Tensor input = kept.get();
    const Tensor grad = make(g.session(), "bias_activation_back", input.sizes(), input.dtype());
    g.set(0, grad);
    if (has_bias) g.set(1, grad);
  });
  return out;
}

Tensor plain_activation(const Tensor& given, const Tensor& bias, bool gated,
                        std::string_view name) {
  Tensor x = bias ? add(given, bias) : given;
  if (!gated) return activation(x, name);
  const int64_t width = x.size(-1) / 2;
  const std::vector<Tensor> halves = split(x, {width, width});
  x.reset();
  const Tensor gate = activation(halves[0], name);
  return mul(gate, halves[1]);
}

// transformer_engine's fused_apply_rotary_pos_emb: keeps the frequencies, which all layers share.
Tensor fused_rope(const Tensor& x) {
  Tensor out = make(x.session(), "fused_rope_forward", x.sizes(), x.dtype());
  if (!tracks(x)) return out;
  record({&out}, {&x}, [](Grads& g) {
    g.set(0, make(g.session(), "fused_rope_backward", g.in().sizes(), g.in().dtype()));
  });
  return out;
}

// _apply_rotary_pos_emb_bshd: t·cos + rotate_half(t)·sin, the rest of the head put behind it. cos
// and sin are constants that autograd keeps.
Tensor plain_rope(const Tensor& x, int64_t width) {
  Session& session = x.session();
  const int64_t rest = x.size(-1) - width;
  const std::vector<Tensor> parts = rest > 0 ? split(x, {width, rest}) : std::vector<Tensor>{x};
  const Tensor& t = parts.front();
  const Shape table{x.size(0), 1, 1, width};
  const Tensor cos = make(session, "aten.cos.default", table, x.dtype());
  const Tensor sin = make(session, "aten.sin.default", table, x.dtype());
  const Tensor straight = mul(t, cos);
  Tensor turned;
  {
    const std::vector<Tensor> halves = split(t, {width / 2, width - width / 2});
    const Tensor minus = neg(halves[1]);
    const Tensor swapped[] = {minus, halves[0]};
    const Tensor half_turned = cat(swapped);
    turned = mul(half_turned, sin);
  }
  const Tensor sum = add(straight, turned);
  if (rest == 0) return sum;
  const Tensor whole[] = {sum, parts[1]};
  return cat(whole);
}

KeysValues fused_latent_rope(const Tensor& kv, const Tensor& rotary, int64_t nope, int64_t v_dim) {
  Session& session = kv.session();
  const int64_t s = kv.size(0), b = kv.size(1), heads = kv.size(2);
  KeysValues out;
  out.keys = allocate(session, {s, b, heads, nope + rotary.size(-1)}, kv.dtype());
  out.values = allocate(session, {s, b, heads, v_dim}, kv.dtype());
  session.ledger.note("fused_apply_mla_rope_for_kv");
  if (!tracks({&kv, &rotary})) return out;
  record({&out.keys, &out.values}, {&kv, &rotary},
         [whole = kv.sizes(), part = rotary.sizes(), dtype = kv.dtype()](Grads& g) {
           Tensor dkv = allocate(g.session(), whole, dtype);
           Tensor drotary = allocate(g.session(), part, dtype);
           g.session().ledger.note("fused_apply_mla_rope_for_kv backward");
           g.set(0, std::move(dkv));
           g.set(1, std::move(drotary));
         });
  return out;
}

KeysValues plain_latent_rope(const Tensor& kv, const Tensor& rotary, int64_t nope, int64_t v_dim) {
  const std::vector<Tensor> parts = split(kv, {nope, v_dim});
  const Tensor turned = plain_rope(rotary, rotary.size(-1));
  const Tensor shared = expand(turned, {kv.size(0), kv.size(1), kv.size(2), rotary.size(-1)});
  const Tensor whole[] = {parts[0], shared};
  return {cat(whole), contiguous(parts[1])};
}

Tensor with_loss(const Tensor& x, const Tensor& loss) {
  if (!tracks({&x, &loss})) return x;
  Tensor out = alias(x, x.sizes(), x.strides());
  const Saved kept(loss);
  record({&out}, {&x, &loss}, [kept](Grads& g) {
    const Tensor value = kept.get();
    g.set(0, g.in());
    g.set(1, make(g.session(), "aten.mul.Tensor", value.sizes(), value.dtype()));
  });
  return out;
}

}  // namespace memplan::mcore
