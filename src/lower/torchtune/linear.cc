// torchtune/modules/peft/lora.py and low_precision/nf4_linear.py.
#include "lower/torchtune/torchtune.h"

namespace memplan::torchtune {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

Tensor linear(const hf::Forward& f, const hf::Params& p, std::string_view name, const Tensor& x) {
  const Tensor out = aten::linear(x, p.get(name, "weight"), p.find(name, "bias"));
  if (p.adapted(name) == nullptr) return out;
  Tensor lora_out;
  {
    const Tensor dropped = dropout(x, f.job.strategy.peft.dropout);
    lora_out = aten::linear(dropped, p.get(name, "lora_a.weight"), {});
  }
  {
    const Tensor up = aten::linear(lora_out, p.get(name, "lora_b.weight"), {});
    lora_out = mul_scalar(up);
  }
  return add(out, lora_out);
}

}  // namespace memplan::torchtune
