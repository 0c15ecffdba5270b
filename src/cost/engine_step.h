// What a DeepSpeed engine does around one step of the walk, on one rank.
#pragma once

#include <memory>
#include <vector>

#include "memplan/job.h"
#include "ops/aten/session.h"
#include "policy/optimizer_step.h"
#include "policy/zero3_groups.h"

namespace memplan {

namespace hf {
class ModuleHooks;
}
namespace deepspeed {
struct ModuleTrace;
}

class EngineStep {
 public:
  virtual ~EngineStep() = default;
  /// The leaves' hooks point back to it.
  EngineStep(const EngineStep&) = delete;
  EngineStep& operator=(const EngineStep&) = delete;

  /// What lives from step to step, which its owner counts: registered parameters, fp32 weights, and
  /// scalars that the engine keeps.
  virtual Bytes weights() const = 0;
  virtual Bytes masters() const = 0;
  virtual Bytes scalars() const = 0;
  /// Of model.parameters() at any time.
  virtual Bytes registered() const { return weights(); }
  /// What the optimizer steps, and whether its states exist before the first step.
  virtual std::vector<StepParam> stepped() const = 0;
  virtual bool makes_states_beforehand() const = 0;
  /// Gradients that live when the last micro-batch begins, which its owner counts; marks leaves
  /// that have one. Buffers it counts itself.
  virtual Bytes place() = 0;
  virtual Bytes buckets() const = 0;  ///< that live
  /// Whether the loss is multiplied by a loss scale, after it was held by accumulation steps.
  virtual bool scales_loss() const = 0;
  /// The backward has ended.
  virtual void finish_backward() = 0;
  /// Highest moment of its step above what lives when it begins.
  virtual StepPeak step_peak(const deepspeed::InnerStep& inner) const = 0;
  /// What it hangs on the modules; null: nothing. How they were called, if that is not known yet.
  virtual hf::ModuleHooks* hooks() { return nullptr; }
  virtual const deepspeed::ModuleTrace* recorded() const { return nullptr; }
  /// The rank that holds the most when the step begins.
  virtual int64_t worst_rank() const { return 0; }

 protected:
  EngineStep() = default;
};

/// Of the job's DeepSpeed optimizer. `params`: registered, in the optimizer's order. `trace`: what
/// an engine has recorded of the same job, for ZeRO-3; null: it records.
std::unique_ptr<EngineStep> make_engine_step(aten::Session& session, const Job& job,
                                             std::vector<aten::Leaf*> params,
                                             const deepspeed::ModuleTrace* trace);

/// Elements of a parameter.
int64_t elements_of(const aten::Leaf& leaf);
/// Trained ones.
std::vector<aten::Leaf*> trained_of(const std::vector<aten::Leaf*>& params);
/// Bytes of tensors by themselves, those that are `trained` or those that are not.
int64_t bytes_apart(const aten::Session& session, const std::vector<aten::Leaf*>& params,
                    bool trained);
/// A flat tensor as the optimizer sees it, fp32.
StepParam flat_parameter(int64_t elements);

}  // namespace memplan
