#include "policy/zero3_groups.h"

#include <numeric>

#include "policy/step_ledger.h"

namespace memplan::deepspeed {

int64_t partition_of(int64_t elements, int64_t world) { return ceil_div(elements, world); }

int64_t elements_of(const SubGroup& group) {
  return std::accumulate(group.begin(), group.end(), int64_t{0}, checked_add);
}

std::vector<SubGroup> sub_groups(const std::vector<int64_t>& partitions, int64_t sub_group_size) {
  std::vector<SubGroup> out;
  SubGroup group;
  for (int64_t n : partitions) {
    group.push_back(n);
    if (elements_of(group) < sub_group_size) continue;
    out.push_back(std::move(group));
    group.clear();
  }
  if (!group.empty()) out.push_back(std::move(group));
  return out;
}

StepPeak zero3_step(const std::vector<SubGroup>& groups, const Strategy& strategy, int64_t gathered,
                    int64_t persistent, const InnerStep& inner) {
  StepLedger ledger;
  const DType gradient = strategy.precision.gradient;
  Value whole = ledger.found(gathered);
  whole.reset();  // _partition_all_parameters
  std::vector<Value> norms;
  if (strategy.precision.weight == DType::f16) {  // has_overflow: isinf and isnan of all gradients
    int64_t all = 0;
    for (const SubGroup& group : groups) all = checked_add(all, elements_of(group));
    const Value absolute = ledger.make("aten.abs.default", checked_mul(all, size_of(gradient)));
    const Value equal = ledger.make("aten.eq.Scalar", all);
  }
  for (const SubGroup& group : groups)  // get_grad_norm_direct
    for (int64_t n : group) {
      const Value wide = ledger.make("aten._to_copy.default", checked_mul(n, size_of(DType::f64)));
      norms.push_back(ledger.make("aten.linalg_vector_norm.default", size_of(DType::f64)));
    }
  norms.clear();
  for (const SubGroup& group : groups) {
    const int64_t n = elements_of(group);
    Value flat, wide;
    if (group.size() > 1)  // one alone is flat already
      flat = ledger.make("aten.cat.default", checked_mul(n, size_of(gradient)));
    if (gradient == DType::f32)
      wide = flat;
    else
      wide = ledger.make("aten._to_copy.default", checked_mul(n, size_of(DType::f32)));
    flat.reset();
    StepParam shown;
    shown.shape = {n, 1, 1, 1};
    shown.dims = 1;
    const StepPeak own = inner(std::span(&shown, 1));
    ledger.make(own.at, own.transient.count());
  }
  ledger.make("aten.empty.memory_format", persistent);
  return ledger.peak();
}

}  // namespace memplan::deepspeed
