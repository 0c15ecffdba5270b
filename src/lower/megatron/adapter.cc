#include "lower/megatron/adapter.h"

#include <string>
#include <vector>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/mcore/mappings.h"

namespace memplan::megatron {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

std::string part(std::string_view module, std::string_view name) {
  return std::string(module) + ".adapter." + std::string(name);
}

// ParallelLinearAdapter runs Megatron-core's own layers, without sequence parallelism.
Tensor product(const Walk& w, const Tensor& x, const Tensor& weight) {
  mcore::Group group = w.group;
  group.sequence_parallel = false;
  return mcore::column_linear(x, weight, {}, group);
}

Tensor dropped(const Walk& w, const Tensor& x) { return dropout(x, w.strategy().peft.dropout); }

}  // namespace

bool is_adapted(const Params& p, std::string_view module) {
  return static_cast<bool>(p.find(part(module, "linear_in")));
}

Tensor with_column_adapter(const Walk& w, const Params& p, std::string_view module, const Tensor& x,
                           const Tensor& y) {
  Tensor low = product(w, dropped(w, x), p.get(part(module, "linear_in")));
  low = mcore::gather_columns(low, w.group);
  Tensor high = product(w, low, p.get(part(module, "linear_out")));
  low.reset();
  high = mul_scalar(high);
  return add(y, high);
}

Tensor with_row_adapter(const Walk& w, const Params& p, std::string_view module, const Tensor& x,
                        const Tensor& y) {
  // The parts' sum is reduced in place.
  Tensor low = product(w, dropped(w, x), p.get(part(module, "linear_in")));
  Tensor high = product(w, low, p.get(part(module, "linear_out")));
  low.reset();
  high = mcore::gather_columns(high, w.group);
  high = mcore::own_rows(high, w.group);
  high = mul_scalar(high);
  return add(y, high);
}

}  // namespace memplan::megatron
