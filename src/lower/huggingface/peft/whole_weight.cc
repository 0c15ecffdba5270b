// Methods that make the whole weight anew in every forward: HiRA, GLoRA, MiSS (bat), SHiRA, BOFT.
#include "lower/huggingface/peft/method.h"
#include "memplan/error.h"

namespace memplan::hf::peft_forward {

using namespace aten;  // NOLINT

namespace {

// glora/layer.py, GloraLoraPath and its kin, in the weight's dtype.
Tensor path(const Site& s, const std::string& name) {
  if (const Tensor down = s.find(name + ".default.Xd")) {
    const Tensor product = matmul(down, s.get(name + ".default.Xu"));
    return to(product, s.base.weight.dtype());
  }
  for (const char* form : {".default.vector", ".default.scalar"})
    if (Tensor x = s.find(name + form)) {
      if (std::string_view(form) == ".default.vector") x = view(x, {x.size(0), 1});
      return to(x, s.base.weight.dtype());
    }
  return to(s.buffer(name + ".default.zeros"), s.base.weight.dtype());
}

// weight.clone() += sparse_coo_tensor(indices, values): the indices become int64, and the gradient
// of the values is picked from a dense one.
Tensor add_sparse(Tensor weight, const Tensor& indices, const Tensor& values) {
  Session& session = weight.session();
  const Tensor scaled = mul_scalar(values);
  const Tensor wide = to(indices, DType::i64);
  session.ledger.note("aten.add_.Tensor");
  if (!tracks(scaled)) return weight;
  const Saved kept(wide), sparse(scaled);
  Tensor out = weight.detach();
  record({&out}, {&scaled},
         [kept, sparse, dtype = scaled.dtype(), sizes = scaled.sizes()](Grads& g) {
           const Tensor at = kept.get();
           const Tensor own = sparse.get();
           const Tensor dense = to(g.in(), dtype);
           g.set(0, make(g.session(), "aten._values.default", sizes, dtype));
         });
  return out;
}

}  // namespace

// hira/layer.py, Linear.forward
Tensor hira(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const DType dtype = result.dtype();
  const Tensor a = s.get("hira_A.default");
  const Tensor b = s.get("hira_B.default");
  const Tensor product = mm(t(a), t(b));
  const Tensor wide = to(x, a.dtype());
  const Tensor dropped = dropout(wide, s.dropout());
  Tensor delta;
  {
    const Tensor weight = s.base.transposed ? t(s.base.weight) : s.base.weight;
    const Tensor scaled = mul(weight, t(product));
    delta = aten::linear(dropped, scaled, {});
  }
  result = add(result, delta);
  return to(result, dtype);
}

// glora/layer.py, GloraLinear.forward
Tensor glora(const Site& s, const Tensor& x) {
  const Tensor base = s.base(x);
  const Tensor& weight = s.base.weight;
  const Tensor a = path(s, "glora_A");
  const Tensor b = path(s, "glora_B");
  const Tensor c = path(s, "glora_C");
  const Tensor d = path(s, "glora_D");
  const Tensor e = path(s, "glora_E");
  Tensor effective;
  {
    const Tensor scaled = mul(weight, a);
    const Tensor sum = add(weight, scaled);
    effective = add(sum, b);
  }
  Tensor bias;
  if (s.base.bias) {
    const Tensor scaled = mul(s.base.bias, d);
    const Tensor sum = add(s.base.bias, scaled);
    const Tensor shifted = add(sum, e);
    const Tensor turned = matmul(weight, c.dims() == 1 ? unsqueeze(c, -1) : c);
    bias = add(shifted, view(turned, {turned.elements()}));
  }
  const Tensor adapted = aten::linear(x, effective, bias);
  Tensor result = add(base, adapted);
  const Tensor once = mul_scalar(base);
  result = sub(result, once);
  return to(result, base.dtype());
}

// miss/layer.py, MissLinear.forward with init_weights "bat": W · block + block, block by block.
Tensor miss_bat(const Site& s, const Tensor& x) {
  const DType dtype = x.dtype();
  const Tensor block = s.get("miss_block.default");  // [out / r, r, r]
  const int64_t rows = block.size(0), r = block.size(1), columns = s.module.in / r;
  Tensor weight = clone(s.base.weight);
  Tensor delta;
  {
    const Tensor wide = to(weight, block.dtype());
    const Tensor parts = permute(view(wide, {rows, r, columns, r}), {2, 0, 1, 3});
    Tensor product = matmul(parts, block);
    product = add(product, block);
    const Tensor back = permute(product, {1, 2, 0, 3});
    delta = reshape(back, {s.module.out, s.module.in});
  }
  weight = add(weight, delta);
  delta.reset();
  const Tensor wide = to(x, weight.dtype());
  const Tensor bias = s.base.bias ? to(s.base.bias, weight.dtype()) : Tensor();
  const Tensor result = aten::linear(wide, weight, bias);
  return to(result, dtype);
}

// shira/layer.py, Linear.forward
Tensor shira(const Site& s, const Tensor& x) {
  Tensor weight = clone(s.base.weight);
  weight = add_sparse(std::move(weight), s.buffer("shira_indices.default"),
                      s.get("shira_weight.default"));
  return aten::linear(x, weight, s.base.bias);
}

// boft/layer.py, Linear.forward without the CUDA extension's FastBlockDiag: one butterfly factor.
Tensor boft(const Site& s, const Tensor& x) {
  Session& session = s.f.session;
  const DType dtype = x.dtype();
  const Tensor trained = s.get("boft_R.default");
  if (trained.size(0) > 1)
    throw Error(ErrorKind::not_modelled, "--peft",
                "BOFT's CUDA extension, which more butterfly factors need, is not modelled",
                "use boft_n_butterfly_factor=1");
  const int64_t in = s.module.in, blocks = trained.size(1), size = trained.size(2);
  Tensor rotation = make(session, "aten.eye.default", {in, in}, dtype);
  Tensor scale = make(session, "aten.ones.default", {s.module.out, 1}, dtype);
  {
    const Tensor r = view(trained, {blocks, size, size});
    Tensor orthogonal;
    {
      const Tensor difference = sub(r, transpose(r, 1, 2));
      const Tensor skew = mul_scalar(difference);
      const Tensor eye = make(session, "aten.eye.default", {size, size}, DType::f32);
      const Tensor sum = add(eye, skew);
      const Tensor less = sub(eye, skew);
      orthogonal = solve_right(sum, less);
    }
    if (s.dropout() > 0) {
      const Tensor mask = make(session, "aten.zeros.default", {1, blocks, 1, 1}, DType::f32);
      orthogonal = view(orthogonal, {1, blocks, size, size});
      const Tensor eyes = make(session, "aten.repeat.default", orthogonal.sizes(), DType::f32);
      const Tensor rest = add_scalar(mask);
      const Tensor kept = mul(rest, orthogonal);
      const Tensor replaced = mul(mask, eyes);
      orthogonal = add(kept, replaced);
      orthogonal = view(orthogonal, {blocks, size, size});
    }
    Tensor diagonal = block_diagonal(orthogonal);
    const Tensor permutation = to(s.buffer("boft_P"), dtype);
    diagonal = to(view(diagonal, {1, in, in}), dtype);
    Tensor product = bmm(diagonal, transpose(permutation, 1, 2));
    product = bmm(permutation, product);
    const Tensor butterfly = select(product, 0);
    rotation = mm(butterfly, rotation);
    scale = mul(s.get("boft_s.default"), scale);
  }
  rotation = to(rotation, dtype);
  const Tensor rotated = matmul(x, rotation);
  Tensor result = s.base(rotated);
  if (s.base.bias) result = sub(result, s.base.bias);
  result = mul(result, view(scale, {s.module.out}));
  if (s.base.bias) result = add(result, s.base.bias);
  return to(result, dtype);
}

}  // namespace memplan::hf::peft_forward
