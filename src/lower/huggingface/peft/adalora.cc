// AdaLoRA: A, B and singular values E that are pruned (adalora/layer.py), with a loss of its own
// (adalora/model.py).
#include "lower/huggingface/peft/method.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

// SVDLinear.forward
Tensor peft_forward::adalora(const Site& s, const Tensor& x) {
  Tensor result = s.base(x);
  const Tensor a = s.get("lora_A.default");
  const Tensor ranknum = add_scalar(s.get("ranknum.default"));
  const Tensor wide = to(x, a.dtype());
  const Tensor dropped = dropout(wide, s.dropout());
  const Tensor scaled = mul(a, s.get("lora_E.default"));
  const Tensor narrow = matmul(dropped, t(scaled));
  Tensor low = matmul(narrow, t(s.get("lora_B.default")));
  low = mul_scalar(low);
  low = div(low, ranknum);
  return add_in_place(std::move(result), low);
}

namespace {

// torch.norm(p·pᵀ - 1, p="fro")
Tensor distance(const Tensor& p, bool rows) {
  const Tensor turned = transpose(p, 0, 1);
  Tensor product = rows ? mm(p, turned) : mm(turned, p);
  const Tensor eye = make(p.session(), "aten.empty_like.default", product.sizes(), product.dtype());
  const Tensor rest = sub(product, eye);
  product.reset();
  Tensor norm = make(p.session(), "aten.linalg_vector_norm.default", Shape{}, rest.dtype());
  if (!tracks(rest)) return norm;
  const Saved input(rest), result(norm);
  record({&norm}, {&rest}, [input, result](Grads& g) {
    const Tensor self = input.get();
    const Tensor length = result.get();
    const Tensor unit = pointwise("aten.div.Tensor", {&self, &length}, self.dtype());
    g.set(0, pointwise("aten.mul.Tensor", {&unit, &g.in()}, self.dtype()));
  });
  return norm;
}

}  // namespace

// AdaLoraModel.forward
Tensor regularized(const Forward& f, std::span<const Params* const> blocks, const Tensor& loss) {
  if (f.job.strategy.peft.kind != PeftKind::adalora) return loss;
  Tensor sum;
  for (const Params* p : blocks)
    for (const PeftModule& m : p->graph().adapted)
      for (const char* factor : {"lora_A.default", "lora_B.default"}) {
        const Tensor norm = distance(p->get(m.name, factor), factor[5] == 'A');
        sum = sum ? add_in_place(sum, norm) : add_scalar(norm);
      }
  sum = div_scalar(sum);
  const Tensor scaled = mul_scalar(sum);
  return add_in_place(loss, scaled);
}

}  // namespace memplan::hf
