// What FullyShardedDataParallel (FSDP1) does around the modules of one step, on one rank.
// Source: torch/distributed/fsdp/_runtime_utils.py and _flat_param.py, torch 2.14.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "cost/sharded_step.h"
#include "policy/fsdp1.h"

namespace memplan {

class FlatParameterStep : public ShardedStep {
 public:
  FlatParameterStep(aten::Session& session, const Job& job);

  /// Throws Error{not_modelled} for parameters of several dtypes, which do not make one.
  void add_group(std::vector<ShardedParam> params, int64_t copies,
                 std::optional<int64_t> after_forward) override;
  void place() override;
  void enter_model() override;
  void leave_model(const aten::Tensor& output) override;
  aten::Tensor layer(size_t index, aten::Tensor hidden, const Module& forward) override;
  /// The wrapper calls the layer, checkpoint and all.
  bool wraps_checkpoints() const override { return true; }
  Bytes registered() const override;
  Bytes registered_gradients() const override;
  Bytes whole_from_before() const override { return Bytes(kept_whole_); }
  /// use_orig_params: FlatParameter.grad (_reset_flat_param_grad_info_if_needed).
  Bytes left_by_step() const override;
  std::vector<StepParam> stepped() const override;

 private:
  /// A FlatParamHandle. Sizes are bytes.
  struct Unit {
    std::vector<ShardedParam> params;
    fsdp1::FlatParameter flat;
    DType stored = DType::f32, compute = DType::f32, reduced = DType::f32;
    bool unsharded = false, prefetched = false, done = false;
    bool needed_in_backward = false;
    int64_t order = -1;  ///< _post_forward_index
  };

  int64_t bytes(int64_t elements, DType dtype) const;
  bool casts(const Unit& u) const { return u.compute != u.stored; }
  bool resharded_after_forward() const;
  /// Gradients of earlier micro-batches wait whole for the last one's (no_sync).
  bool accumulates_whole() const;
  /// use_orig_params leaves a unit's parameters views of the whole one from forward to backward
  /// where that is not freed between (_skipped_use_sharded_views).
  bool skips_sharded_views() const;

  void unshard(Unit& u);
  void reshard(Unit& u, bool frees);
  void prefetch(size_t index);
  void prefetch_before(const Unit& u);
  void pre_backward(size_t index);
  void post_backward(Unit& u);
  int64_t join_gradients(Unit& u);
  void reduce(Unit& u, int64_t gradient);
  void reduce_whole(Unit& u, int64_t gradient);
  void finish_backward();

  bool whole_;  ///< NO_SHARD
  std::vector<Unit> units_;
  std::vector<size_t> post_forward_order_;
  int64_t kept_whole_ = 0;
  int64_t offloaded_ = 0;  ///< reduced gradients that wait for the end of backward
};

}  // namespace memplan
