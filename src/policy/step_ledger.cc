#include "policy/step_ledger.h"

#include <algorithm>

namespace memplan {

int64_t elements(const StepParam& param, int from, int to) {
  int64_t out = 1;
  for (int i = from; i < to; ++i) out = checked_mul(out, param.shape[static_cast<size_t>(i)]);
  return out;
}

std::vector<std::vector<StepParam>> by_dtype(StepParams params) {
  std::vector<std::vector<StepParam>> out;
  for (const StepParam& param : params) {
    auto group = std::find_if(out.begin(), out.end(),
                              [&](const auto& g) { return g.front().dtype == param.dtype; });
    if (group == out.end()) group = out.insert(out.begin(), std::vector<StepParam>());
    group->push_back(param);
  }
  return out;
}

}  // namespace memplan
