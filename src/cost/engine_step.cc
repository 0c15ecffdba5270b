#include "cost/engine_step.h"

#include <utility>

#include "cost/whole_step.h"
#include "cost/zero3_step.h"
#include "cost/zero_step.h"
#include "policy/deepspeed.h"

namespace memplan {

std::unique_ptr<EngineStep> make_engine_step(aten::Session& session, const Job& job,
                                             std::vector<aten::Leaf*> params,
                                             const deepspeed::ModuleTrace* trace) {
  const deepspeed::Wrapper wrapper = deepspeed::wrapper(job.strategy);
  if (wrapper == deepspeed::Wrapper::zero_3)
    return std::make_unique<Zero3Step>(session, job, std::move(params), trace);
  if (wrapper == deepspeed::Wrapper::zero_1_and_2)
    return std::make_unique<ZeroStep>(session, job, std::move(params));
  return std::make_unique<WholeStep>(session, job, std::move(params));
}

int64_t elements_of(const aten::Leaf& leaf) { return leaf.value.elements(); }

std::vector<aten::Leaf*> trained_of(const std::vector<aten::Leaf*>& params) {
  std::vector<aten::Leaf*> out;
  for (aten::Leaf* leaf : params)
    if (leaf->value.requires_grad()) out.push_back(leaf);
  return out;
}

int64_t bytes_apart(const aten::Session& session, const std::vector<aten::Leaf*>& params,
                    bool trained) {
  int64_t sum = 0;
  for (const aten::Leaf* leaf : params)
    if (leaf->value.requires_grad() == trained)
      sum = checked_add(sum, session.rounded(leaf->value.bytes()));
  return sum;
}

StepParam flat_parameter(int64_t elements) {
  StepParam out;
  out.shape = {elements, 1, 1, 1};
  out.dims = 1;
  return out;
}

}  // namespace memplan
