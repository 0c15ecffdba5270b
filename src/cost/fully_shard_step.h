// What fully_shard (FSDP2) does around the modules of one step, on one rank.
// Source: torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py and _fsdp_state.py, torch 2.14.
#pragma once

#include <functional>
#include <vector>

#include "cost/sharded_step.h"

namespace memplan {

class FullyShardStep : public ShardedStep {
 public:
  FullyShardStep(aten::Session& session, const Job& job) : ShardedStep(session, job) {}

  void add_group(std::vector<ShardedParam> params, int64_t copies,
                 std::optional<int64_t> after_forward) override;
  void place() override;
  void enter_model() override;
  void leave_model(const aten::Tensor& output) override;
  aten::Tensor layer(size_t index, aten::Tensor hidden, const Module& forward) override;
  /// GradientCheckpointingLayer's __call__ checkpoints what module hooks are part of; torchtitan
  /// shards the checkpoint's wrapper.
  bool wraps_checkpoints() const override {
    return job_.strategy.framework == Framework::torchtitan;
  }
  Bytes registered() const override;
  Bytes registered_gradients() const override;

 private:
  struct Group {
    std::vector<ShardedParam> params;
    fsdp2::Buffers buffers;
    int64_t copies = 1;
    bool unsharded = false, resharded = false;  ///< else cut over all GPUs
    bool gathering = false;                     ///< all_gather_result waits to be copied out
    bool done = false;                          ///< its post_backward has run
    int64_t order = -1;                         ///< in post_forward_order
  };
  enum class Pass : uint8_t { forward, backward };

  void gather(Group& g);
  void wait(Group& g, Pass pass);
  void free_unsharded(Group& g);
  void reshard_after_forward(Group& g);
  void pre_backward(size_t index);
  void post_backward(size_t index);
  void finish_backward();
  void reduce(Group& g, std::vector<aten::Tensor> gradients);
  void free_reduced(const Group& g, bool kept, int64_t bytes);

  void copy_in(Group& g);
  void copy_out(Group& g);
  /// Of a group's parameters, each a storage of its own.
  int64_t total(const Group& g, int64_t fsdp2::ParamBuffers::*part) const;
  /// Gradients of earlier micro-batches wait whole to be reduced with the last one's.
  bool accumulates_whole() const;

  std::vector<Group> groups_;
  std::vector<size_t> post_forward_order_;
  int64_t held_gather_ = 0;   ///< all_gather_state: forward's last, freed behind the next
  int64_t reduce_input_ = 0;  ///< reduce_scatter_states: freed before the next
  int64_t all_reduced_ = 0;   ///< _all_reduce_state of all groups
};

}  // namespace memplan
