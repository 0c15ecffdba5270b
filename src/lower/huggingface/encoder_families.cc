#include "lower/huggingface/encoders.h"
#include "lower/huggingface/families.h"
#include "memplan/error.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

std::span<const Family> encoder_families() {
  static const Family families[] = {bert_family(), roberta_family(), deberta_family(), t5_family()};
  return families;
}

void require_eager(const Forward& f) {
  if (f.job.strategy.attention == AttentionKind::flash)
    throw Error(ErrorKind::not_modelled, "--attention",
                "'" + f.model.family + "' has no flash attention in transformers",
                "use --attention unfused");
}

void refuse_head(const Forward& f) {
  throw Error(ErrorKind::not_modelled, "--framework",
              "what PyTorch keeps of this head of '" + f.model.family + "' is not modelled",
              "use --framework textbook");
}

Tensor bidirectional_mask(const Forward& f, DType dtype, bool eager) {
  if (!f.padding) return {};
  Session& s = f.session;
  const NoGrad off(s);
  Tensor padding;
  if (f.padding.dtype() != DType::boolean) padding = to(f.padding, DType::boolean);
  Tensor mask;
  {
    const Tensor samples = make(s, "aten.arange.default", {f.batch}, DType::i64);
    const Tensor heads = make(s, "aten.arange.default", {1}, DType::i64);
    const auto positions = [&] {
      const Tensor range = make(s, "aten.arange.default", {f.sequence}, DType::i64);
      return pointwise("aten.add.Tensor", {&range}, DType::i64);
    };
    const Tensor rows = positions();
    const Tensor columns = positions();
    Tensor both = make(s, "aten.new_ones.default", {}, DType::boolean);
    {
      const Tensor any = make(s, "aten.ge.Scalar", {1, 1, f.sequence, 1}, DType::boolean);
      both = pointwise("aten.bitwise_and.Tensor", {&both, &any}, DType::boolean);
    }
    const Tensor index = make(s, "aten.index.Tensor", {f.batch, 1, 1, f.sequence}, DType::boolean);
    mask = pointwise("aten.bitwise_and.Tensor", {&both, &index}, DType::boolean);
  }
  if (!eager) return mask;
  const Tensor lowest = make(s, "aten.lift_fresh.default", {}, dtype);
  const Tensor zero = make(s, "aten.scalar_tensor.default", {}, dtype);
  return where(mask, zero, lowest);
}

Tensor dense_add_norm(const Forward& f, const Params& p, std::string_view dense,
                      std::string_view norm, const Tensor& x, const Tensor& residual) {
  Tensor hidden = linear(f, p, dense, x);
  hidden = dropout(hidden, f.model.dropout.hidden);
  const Tensor sum = add(hidden, residual);
  return row_norm(f, p, norm, sum);
}

Tensor encoder_mlp(const Forward& f, const Params& p, const Tensor& x) {
  const MlpRow& row = f.row.mlp;
  Tensor inner = linear(f, p, row.up, x);
  inner = activation(inner, f.model.activation);
  return dense_add_norm(f, p, row.down, f.row.after_mlp, inner, x);
}

}  // namespace memplan::hf
