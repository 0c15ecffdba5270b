#include "lower/huggingface/classic.h"
#include "lower/huggingface/families.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

std::span<const Family> classic_families() {
  static const Family families[] = {gpt2_family(), gptj_family(),  gpt_neox_family(), phi_family(),
                                    opt_family(),  bloom_family(), falcon_family()};
  return families;
}

Tensor plain_mlp(const Forward& f, const Params& p, const Tensor& x) {
  Tensor hidden = linear(f, p, f.row.mlp.up, x);
  hidden = activation(hidden, f.model.activation);
  return linear(f, p, f.row.mlp.down, hidden);
}

}  // namespace memplan::hf
