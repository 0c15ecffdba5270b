// Orthogonal fine-tuning: inputs are rotated block by block (oft/layer.py), or within a frozen
// subspace (psoft/layer.py).
#include "lower/huggingface/peft/method.h"

namespace memplan::hf::peft_forward {

using namespace aten;  // NOLINT

namespace {

// OFTRotationModule._pytorch_skew_symmetric: the entries above the diagonal, minus their mirror.
Tensor skew_symmetric(const Site& s, const Tensor& entries, int64_t block) {
  const char* rows = s.module.form == ModuleForm::embedding ? "oft_embedding_R.default.rows"
                                                            : "oft_R.default.rows";
  Tensor matrix =
      make(s.f.session, "aten.zeros.default", {entries.size(0), block, block}, entries.dtype());
  matrix = index_put_in_place(matrix, s.buffer(rows), entries);
  const Tensor mirror = transpose(matrix, -2, -1);
  return sub(matrix, mirror);
}

// r = 1, to which the series of (1 - skew)⁻¹(1 + skew) is added.
Tensor neumann_series(const Site& s, Tensor r, const Tensor& skew) {
  const int64_t terms = s.number(PeftNumber::neumann_terms);
  if (terms < 2) return r;
  r = add_in_place(r, skew, Alpha::other);
  if (terms < 3) return r;
  Tensor power = matmul(skew, skew);
  r = add_in_place(r, power, Alpha::other);
  for (int64_t i = 3; i < terms - 1; ++i) {
    power = matmul(power, skew);
    r = add_in_place(r, power, Alpha::other);
  }
  power = matmul(power, skew);
  return add_in_place(r, power);
}

// _cayley_batch
Tensor cayley(const Site& s, const Tensor& entries, int64_t block) {
  const Tensor skew = skew_symmetric(s, entries, block);
  if (s.number(PeftNumber::neumann) != 0) {
    Tensor ones;
    {
      const Tensor eye = make(s.f.session, "aten.eye.default", {block, block}, skew.dtype());
      ones = make(s.f.session, "aten.repeat.default", skew.sizes(), skew.dtype());
    }
    return to(neumann_series(s, std::move(ones), skew), entries.dtype());
  }
  const Tensor eye = make(s.f.session, "aten.eye.default", {block, block}, DType::f32);
  const Tensor sum = add(eye, skew);
  const Tensor difference = sub(eye, skew);
  return to(solve_right(sum, difference), entries.dtype());
}

// MultiplicativeDropoutLayer has no part in the forward (OFTLinear never calls it).
Tensor rotate_blocks(const Site& s, const Tensor& x, const Tensor& entries, int64_t width) {
  // n · (n - 1) / 2 entries a block
  int64_t block = 1;
  while (block * (block - 1) / 2 < entries.size(1)) ++block;
  const int64_t blocks = width / block;
  Tensor rotation = cayley(s, entries, block);
  Shape sizes = x.sizes();
  sizes[-1] = blocks;
  sizes.at[static_cast<size_t>(sizes.dims++)] = block;
  const Tensor parts = reshape(x, sizes);
  if (rotation.size(0) != blocks) rotation = repeat(rotation, {blocks, 1, 1});
  const Tensor turned = block_product(parts, rotation);
  return reshape(turned, x.sizes());
}

}  // namespace

// Linear.forward
Tensor oft(const Site& s, const Tensor& input) {
  const DType dtype = input.dtype();
  const Tensor entries = s.get("oft_R.default.weight");
  Tensor x = to(input, entries.dtype());
  x = rotate_blocks(s, x, entries, s.module.in);
  Tensor result;
  {
    const Tensor narrow = to(x, dtype);
    result = s.base(narrow);
  }
  return to(result, dtype);
}

// Embedding.forward: its output is rotated.
Tensor oft_embedding(const Site& s, const Tensor& ids) {
  Tensor result = s.base(ids);
  const DType dtype = result.dtype();
  const Tensor entries = s.get("oft_embedding_R.default.weight");
  result = to(result, entries.dtype());
  result = rotate_blocks(s, result, entries, s.module.out);
  return to(result, dtype);
}

// OrthLayer.get_matrix
Tensor psoft_rotation(const Site& s) {
  Session& session = s.f.session;
  const Tensor entries = s.get("psoft_R.default.weight");
  const int64_t r = s.peft().rank;
  Tensor rotation = entries;
  if (s.number(PeftNumber::orthogonal) != 0) {
    Tensor skew;
    {
      Tensor matrix = make(session, "aten.zeros.default", {r, r}, entries.dtype());
      matrix = index_put(matrix, s.buffer("psoft_R.default.rows"), entries);
      skew = sub(matrix, transpose(matrix, 0, 1));
    }
    const Tensor eye = make(session, "aten.eye.default", {r, r}, entries.dtype());
    if (s.number(PeftNumber::neumann) != 0) {
      rotation = neumann_series(s, clone(eye), skew);
    } else {
      const Tensor less = sub(eye, skew);
      const Tensor more = add(eye, skew);
      rotation = solve_right(less, more);
    }
  }
  if (const Tensor b = s.find("psoft_R.default.vector_b"))
    rotation = mul(unsqueeze(b, 1), rotation);
  if (const Tensor a = s.find("psoft_R.default.vector_a"))
    rotation = mul(rotation, unsqueeze(a, 0));
  return rotation;
}

// psoft/layer.py, Linear.forward
Tensor psoft(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const DType dtype = result.dtype();
  const Tensor a = s.buffer("_psoft_A_cache.default");
  const Tensor b = s.buffer("_psoft_B_cache.default");
  const Tensor wide = to(x, a.dtype());
  const Tensor dropped = dropout(wide, s.dropout());
  const Tensor inside = matmul(dropped, t(a));
  Tensor turned;
  {
    const Tensor rotation = psoft_rotation(s);
    turned = matmul(inside, t(rotation));
  }
  Tensor delta;
  {
    const Tensor moved = sub(turned, inside);
    delta = matmul(moved, t(b));
  }
  {
    const Tensor scaled = mul_scalar(delta);
    result = add(result, scaled);
  }
  return to(result, dtype);
}

}  // namespace memplan::hf::peft_forward
