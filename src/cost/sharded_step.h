// What fully_shard (FSDP2) does around the modules of one step, on one rank.
// Source: torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py and _fsdp_state.py, torch 2.14.
//
// Collectives run on streams of their own. FSDP2 keeps Python references to what another stream
// reads and drops them behind events, so that what is alive follows the program's order: that is
// what is counted here.
#pragma once

#include <functional>
#include <vector>

#include "ops/aten/autograd.h"
#include "ops/aten/session.h"
#include "policy/fsdp2.h"

namespace memplan {

/// A parameter of a group: its leaf is the unsharded one, of which the ledger counts nothing.
struct ShardedParam {
  fsdp2::Parameter parameter;
  aten::Leaf* leaf = nullptr;
};

/// Parameters that are gathered and reduced together, in the order of their modules.
class ShardedStep {
 public:
  /// Of a job that fsdp2::shards_parameters. Group 0 is that of the model itself: what is in no
  /// layer. `copies`: equal layers that a group stands for.
  ShardedStep(aten::Session& session, const Job& job);
  void add_group(std::vector<ShardedParam> params, int64_t copies);

  /// Fills what lives when the last micro-batch begins, which its owner counts.
  void place();
  Bytes weights() const { return Bytes(weights_); }            ///< the shards
  Bytes gradients() const { return Bytes(gradients_); }        ///< of earlier micro-batches
  Bytes host_weights() const { return Bytes(host_weights_); }  ///< the same of an offload
  Bytes host_gradients() const { return Bytes(host_gradients_); }

  /// Around the model's forward, whose loss the backward starts from.
  void enter_model();
  void leave_model(const aten::Tensor& loss);
  /// Around a layer's forward: group `index`.
  aten::Tensor layer(size_t index, const aten::Tensor& hidden,
                     const std::function<aten::Tensor(const aten::Tensor&)>& forward);

  /// What model.parameters() and their gradients hold between forward and backward.
  Bytes registered() const;
  Bytes registered_gradients() const;

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
  void take(int64_t aten::Level::*lane, int64_t bytes, std::string_view op);
  void drop(int64_t aten::Level::*lane, int64_t bytes) { session_.ledger.add(lane, -bytes); }

  aten::Session& session_;
  const Job& job_;
  std::vector<Group> groups_;
  std::vector<size_t> post_forward_order_;
  int64_t held_gather_ = 0;   ///< all_gather_state: forward's last, freed behind the next
  int64_t reduce_input_ = 0;  ///< reduce_scatter_states: freed before the next
  int64_t all_reduced_ = 0;   ///< _all_reduce_state of all groups
  int64_t weights_ = 0, gradients_ = 0, host_weights_ = 0, host_gradients_ = 0;
};

}  // namespace memplan
