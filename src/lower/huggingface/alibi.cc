// build_alibi_tensor, which BLOOM and Falcon share.
#include "lower/huggingface/classic.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

Tensor build_alibi(const Forward& f, DType slopes, DType dtype) {
  Session& s = f.session;
  NoGrad off(s);
  const Shape grid = f.ids.sizes();
  const DType counts = f.padding ? f.padding.dtype() : DType::i64;
  Tensor positions;
  {
    Tensor sum = make(s, "aten.cumsum.default", grid, counts);
    sum = make(s, "aten.sub.Tensor", grid, counts);
    positions = make(s, "aten.mul.Tensor", grid, counts);
  }
  const Shape sizes{f.batch * f.model.heads, 1, f.sequence};
  const Tensor alibi = make(s, "aten.mul.Tensor", sizes, slopes);
  return to(alibi, dtype);
}

Tensor dropout_add(const Tensor& x, const Tensor& residual, double p) {
  const Tensor out = dropout(x, p);
  return add(residual, out);
}

}  // namespace memplan::hf
