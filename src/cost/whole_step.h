// DeepSpeed engines whose gradients stay whole: those without ZeRO, and BF16_Optimizer.
// Source: deepspeed/runtime/engine.py, fp16/fused_optimizer.py, fp16/unfused_optimizer.py and
// bf16_optimizer.py, 0.19.8.
#pragma once

#include <vector>

#include "cost/engine_step.h"
#include "policy/deepspeed.h"

namespace memplan {

class WholeStep : public EngineStep {
 public:
  WholeStep(aten::Session& session, const Job& job, std::vector<aten::Leaf*> params);

  Bytes weights() const override;
  Bytes masters() const override;
  Bytes scalars() const override;
  std::vector<StepParam> stepped() const override;
  bool makes_states_beforehand() const override;
  Bytes place() override;
  Bytes buckets() const override { return {}; }
  bool scales_loss() const override { return false; }
  void finish_backward() override;
  StepPeak step_peak(const deepspeed::InnerStep& inner) const override;

 private:
  int64_t gradient_bytes(const aten::Leaf& leaf) const;
  void reduce_each();  ///< buffered_allreduce_fallback of the parameters' gradients
  void reduce_flat();  ///< of BF16_Optimizer's own, after it has taken up the parameters'

  aten::Session& session_;
  const Job& job_;
  deepspeed::Wrapper wrapper_;
  std::vector<aten::Leaf*> params_, trained_;
  deepspeed::FlatGroup group_;
};

}  // namespace memplan
