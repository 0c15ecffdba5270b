// Methods with norms, angles or samples between their factors: DeLoRA, RandLoRA, PVeRA, RoAd, HRA.
#include <algorithm>

#include "lower/huggingface/peft/method.h"
#include "memplan/error.h"

namespace memplan::hf::peft_forward {

using namespace aten;  // NOLINT

namespace {

// x.norm(dim=…) of a matrix: keeps x and the norms.
Tensor norms(const Tensor& x, int64_t count) {
  Tensor out = make(x.session(), "aten.linalg_vector_norm.default", {count}, x.dtype());
  if (!tracks(x)) return out;
  const Saved input(x), result(out);
  record({&out}, {&x}, [input, result](Grads& g) {
    const Tensor self = input.get();
    const Tensor lengths = result.get();
    const Tensor unit = make(g.session(), "aten.div.Tensor", self.sizes(), self.dtype());
    g.set(0, make(g.session(), "aten.mul.Tensor", self.sizes(), self.dtype()));
  });
  return out;
}

// cos and sin keep their input, exp its result.
Tensor angle(const Tensor& x, std::string_view op, std::string_view derivative) {
  Tensor out = pointwise(op, {&x}, x.dtype());
  if (!tracks(x)) return out;
  const Saved kept(x);
  record({&out}, {&x}, [kept, derivative](Grads& g) {
    const Tensor self = kept.get();
    const Tensor other = pointwise(derivative, {&self}, self.dtype());
    g.set(0, pointwise("aten.mul.Tensor", {&g.in(), &other}, self.dtype()));
  });
  return out;
}
Tensor exponential(const Tensor& x) {
  Tensor out = pointwise("aten.exp.default", {&x}, x.dtype());
  if (!tracks(x)) return out;
  const Saved kept(out);
  record({&out}, {&x}, [kept](Grads& g) {
    const Tensor result = kept.get();
    g.set(0, pointwise("aten.mul.Tensor", {&g.in(), &result}, result.dtype()));
  });
  return out;
}

// randlora/layer.py, UniqueBaseGrad: lambda · A · gamma, whose product is made again.
Tensor scaled_basis(const Tensor& basis, const Tensor& lambda, const Tensor& gamma) {
  Tensor out;
  {
    NoGrad off(basis.session());
    const Tensor first = mul(unsqueeze(lambda, 2), basis);
    out = mul(first, unsqueeze(gamma, 0));
  }
  if (!tracks({&lambda, &gamma})) return out;
  const Saved kl(lambda), kg(gamma);
  record({&out}, {&lambda, &gamma}, [kl, kg, sizes = out.sizes()](Grads& g) {
    const Tensor l = kl.get();
    const Tensor m = kg.get();
    {
      const Tensor product = make(g.session(), "aten.mul.Tensor", sizes, l.dtype());
      g.set(0, transpose(make(g.session(), "aten.bmm.default", {l.size(1), l.size(0)}, l.dtype()),
                         0, 1));
    }
    const Tensor product = make(g.session(), "aten.mul.Tensor", sizes, l.dtype());
    g.set(1, make(g.session(), "aten.bmm.default", m.sizes(), m.dtype()));
  });
  return out;
}

}  // namespace

// delora/layer.py, DeloraLinear.forward
Tensor delora(const Site& s, const Tensor& x) {
  const Tensor base = s.base(x);
  const Tensor a = s.get("delora_A.default");
  const Tensor b = s.get("delora_B.default");
  Tensor sum = pointwise("aten.zeros_like.default", {&base}, base.dtype());
  {
    const Tensor dropped = dropout(x, s.dropout());
    Tensor low;
    {
      const Tensor weighed = mul(dropped, s.buffer("delora_w_norm.default"));
      low = aten::linear(weighed, a, {});
    }
    Tensor of_a = norms(a, a.size(0));
    of_a = clamp(of_a, false);
    Tensor of_b = norms(b, b.size(1));
    of_b = clamp(of_b, false);
    Tensor scaling;
    {
      const Tensor strength = div_scalar(s.get("delora_lambda.default"));
      const Tensor product = mul(of_a, of_b);
      scaling = div(strength, product);
    }
    low = mul(low, scaling);
    low = aten::linear(low, b, {});
    sum = add_in_place(std::move(sum), low);
  }
  const Tensor narrow = to(sum, base.dtype());
  const Tensor result = add(base, narrow);
  return to(result, x.dtype());
}

// randlora/layer.py, Linear.forward
Tensor randlora(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const Tensor lambda = s.get("randlora_lambda.default");
  const Tensor gamma = s.get("randlora_gamma.default");
  const int64_t bases = lambda.size(1), narrow = gamma.size(1);
  const int64_t wide = std::max(s.module.in, s.module.out);
  Tensor a = s.f.shared_peft->buffer("randlora_A.default");
  a = slice(a, 2, 0, narrow);
  Tensor b = s.f.shared_peft->buffer("randlora_B.default");
  b = slice(slice(b, 0, 0, wide), 1, 0, bases);
  b = reshape(b, {wide, b.size(1) * b.size(2)});
  a = scaled_basis(a, lambda, gamma);
  a = reshape(a, {a.size(0) * a.size(1), narrow});
  const bool trained_first = narrow == s.module.in;
  const Tensor first = trained_first ? a : t(b);
  const Tensor second = trained_first ? b : t(a);
  const Tensor cast = to(x, first.dtype());
  {
    Tensor low = dropout(cast, s.dropout());
    low = aten::linear(low, first, {});
    low = aten::linear(low, second, {});
    low = mul_scalar(low);
    result = add(result, low);
  }
  return to(result, x.dtype());
}

// pvera/layer.py, Linear.forward: a normal sample of learned mean and variance.
Tensor pvera(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const Tensor d = s.get("pvera_lambda_d.default");
  const Tensor b = s.get("pvera_lambda_b.default");
  const Tensor whole_a = s.f.shared_peft->buffer("pvera_A.default");
  const Tensor whole_b = s.f.shared_peft->buffer("pvera_B.default");
  const Tensor sliced_a = slice(whole_a, -1, 0, x.size(-1));
  const Tensor sliced_b = slice(whole_b, 0, 0, b.size(0));
  const Tensor wide = to(x, d.dtype());
  std::vector<Tensor> halves;
  {
    Tensor both = dropout(wide, s.dropout());
    both = aten::linear(both, sliced_a, {});
    both = mul(d, both);
    halves = split(both, {both.size(-1) / 2, both.size(-1) / 2});
  }
  Tensor sample;
  {
    Tensor deviation = mul_scalar(halves[1]);
    deviation = exponential(deviation);
    const Tensor noise = pointwise("aten.randn_like.default", {&deviation}, deviation.dtype());
    const Tensor scaled = mul(noise, deviation);
    sample = add(halves[0], scaled);
  }
  {
    Tensor delta = aten::linear(sample, sliced_b, {});
    sample.reset();
    delta = mul(b, delta);
    result = add(result, delta);
  }
  return to(result, x.dtype());
}

// road/layer.py, Linear.forward and _apply_road
Tensor road(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const DType dtype = result.dtype();
  Tensor theta = s.get("road_theta.default");
  Tensor alpha = s.get("road_alpha.default");
  const int64_t half = s.number(PeftNumber::block_size) / 2;
  result = to(result, theta.dtype());
  {
    // Variant 1 has one angle for each pair of outputs, variant 2 one for each output.
    if (s.number(PeftNumber::variant) > 1)
      throw Error(ErrorKind::not_modelled, "--peft", "RoAd's variant road_4 is not modelled",
                  "use road_1 or road_2");
    const auto both_halves = [&](const Tensor& angles) {
      if (s.number(PeftNumber::variant) == 1) return angles;
      const Tensor pairs = view(angles, {angles.elements() / half, 1, half});
      return reshape(expand(pairs, {pairs.size(0), 2, half}), {2 * angles.elements()});
    };
    theta = both_halves(theta);
    alpha = both_halves(alpha);
    const Tensor cosine = angle(theta, "aten.cos.default", "aten.sin.default");
    const Tensor sine = angle(theta, "aten.sin.default", "aten.cos.default");
    const Tensor first = mul(alpha, cosine);
    const Tensor second = mul(alpha, sine);
    Tensor rotated;
    {
      const Tensor groups = view(result, {result.elements() / (2 * half), 2, half});
      const Tensor front = select(groups, 1), back = select(groups, 1);
      const Tensor minus = neg(back);
      const Tensor parts[] = {unsqueeze(minus, 1), unsqueeze(front, 1)};
      rotated = view(cat(parts, 1), result.sizes());
    }
    const Tensor straight = mul(result, first);
    const Tensor turned = mul(rotated, second);
    result = add(straight, turned);
  }
  return to(result, dtype);
}

// hra/layer.py, HRALinear.forward without Gram-Schmidt: a chain of Householder reflections.
Tensor hra(const Site& s, const Tensor& x) {
  if (s.number(PeftNumber::orthogonal) != 0)
    throw Error(ErrorKind::not_modelled, "--peft", "HRA's apply_GS is not modelled",
                "leave it away");
  Session& session = s.f.session;
  const Tensor u = s.get("hra_u.default");
  const int64_t in = s.module.in;
  Tensor weight = make(session, "aten.eye.default", {in, in}, DType::f32);
  {
    Tensor chain;
    {
      const Tensor lengths = norms(u, u.size(1));
      const Tensor unit = div(u, lengths);
      chain = make(session, "aten.eye.default", {in, in}, u.dtype());
      for (int64_t i = 0; i < u.size(1); ++i) {
        const Tensor column = view(select(unit, 1), {in, 1});
        Tensor product;
        {
          Tensor low;
          {
            const Tensor twice = mul_scalar(chain);
            low = mm(twice, column);
          }
          product = mm(low, t(column));
        }
        chain = sub(chain, product);
      }
    }
    weight = mm(weight, chain);
  }
  const Tensor own = to(s.base.weight, weight.dtype());
  weight = mm(own, weight);
  const Tensor bias = s.base.bias ? to(s.base.bias, weight.dtype()) : Tensor();
  const Tensor wide = to(x, weight.dtype());
  const Tensor result = aten::linear(wide, weight, bias);
  return to(result, x.dtype());
}

}  // namespace memplan::hf::peft_forward
