// What DeepSpeed's ZeRO-3 does around the modules of one step, on one rank: every rank the same.
// Source: deepspeed/runtime/zero/stage3.py, partition_parameters.py, parameter_offload.py, 0.19.8.
//
// Gathers and reductions run on streams of their own; what is alive follows the program's order.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cost/engine_step.h"
#include "lower/huggingface/module.h"
#include "policy/parameter_coordinator.h"
#include "policy/zero3_groups.h"

namespace memplan {

class Zero3Step : public EngineStep, public hf::ModuleHooks, private deepspeed::ParameterMemory {
 public:
  /// `trace`: what a step without one has recorded (ModuleTrace), or null; it outlives this.
  Zero3Step(aten::Session& session, const Job& job, std::vector<aten::Leaf*> params,
            const deepspeed::ModuleTrace* trace);

  Bytes weights() const override;
  Bytes registered() const override { return weights() + Bytes(gathered_); }
  Bytes masters() const override;
  Bytes scalars() const override;
  std::vector<StepParam> stepped() const override;
  bool makes_states_beforehand() const override { return false; }
  /// Gathers what persists, and what earlier micro-batches have left gathered.
  Bytes place() override;
  Bytes buckets() const override { return Bytes(bucket_bytes_); }
  bool scales_loss() const override { return true; }
  void finish_backward() override;
  StepPeak step_peak(const deepspeed::InnerStep& inner) const override;
  hf::ModuleHooks* hooks() override { return this; }
  const deepspeed::ModuleTrace* recorded() const override { return &coordinator_.recorded(); }

  aten::Tensor enter(const hf::Params& block, std::string_view name,
                     std::span<const aten::Tensor> own, const aten::Tensor& x) override;
  aten::Tensor leave(const hf::Params& block, std::string_view name,
                     const aten::Tensor& y) override;

 private:
  struct Gathered;  ///< flat_tensor of several parameters
  struct Param {
    aten::Leaf* leaf;
    int64_t elements, partition;  ///< of the latter, a rank's
    int64_t storage = 0;          ///< bytes of what is gathered
    std::shared_ptr<Gathered> flat = {};
  };

  void all_gather(std::span<const int> params) override;
  void wait(int param) override;
  void free(int param) override;
  void hold(Param& param, int64_t bytes, std::string_view op);  ///< param.data = a new tensor

  int module(const hf::Params& block, std::string_view name, std::span<const aten::Tensor> own);
  void accumulated(size_t param);
  void reduce_and_partition();
  int64_t weight_bytes(int64_t elements) const;
  int64_t trained_partition() const;  ///< elements
  int64_t persistent_bytes() const;

  aten::Session& session_;
  const Job& job_;
  std::vector<Param> params_;
  std::map<const aten::Leaf*, int> index_;
  const deepspeed::ModuleTrace* trace_;
  deepspeed::ParameterCoordinator coordinator_;
  std::vector<deepspeed::SubGroup> groups_;
  std::map<std::pair<const hf::Params*, std::string>, int> modules_;
  bool began_ = false;  ///< the model's own module has been called
  int64_t gathered_ = 0;
  int64_t bucket_bytes_ = 0;
  std::vector<size_t> waiting_;  ///< in the bucket
  int64_t filled_ = 0;           ///< elements of them
};

}  // namespace memplan
