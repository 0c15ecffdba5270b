#include "lower/huggingface/classic.h"
#include "lower/huggingface/families.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

std::span<const Family> classic_families() {
  static const Family families[] = {gpt2_family(), gptj_family(),  gpt_neox_family(), phi_family(),
                                    opt_family(),  bloom_family(), falcon_family()};
  return families;
}

Tensor columns(const Tensor& x, int64_t start, int64_t length) {
  return length == x.size(-1) ? x : slice(x, -1, start, length);
}

Tensor plain_mlp(const Forward& f, const Params& p, const Tensor& x) {
  Tensor hidden = linear(f, p, f.row.mlp.up, x);
  hidden = activation(hidden, f.model.activation);
  return linear(f, p, f.row.mlp.down, hidden);
}

int64_t rotary_width(const ModelSpec& model) {
  return model.extra_or("rotary_dim", model.head_dim);
}

int64_t partial_rotary_buffers(const Job& job) {
  return 2 * ceil_div(rotary_width(job.model), 2) * size_of(DType::f32);
}

}  // namespace memplan::hf
