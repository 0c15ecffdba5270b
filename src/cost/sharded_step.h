// What sharded parameters do around the modules of one step, on one rank.
//
// Collectives run on streams of their own. PyTorch drops, or records the use of, what another
// stream reads, so that what is allocated follows the program's order: that is what is counted.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "ops/aten/autograd.h"
#include "ops/aten/session.h"
#include "policy/fsdp2.h"
#include "policy/optimizer_step.h"

namespace memplan {

/// A parameter of a group: its leaf is the unsharded one, of which the ledger counts nothing.
struct ShardedParam {
  fsdp2::Parameter parameter;
  aten::Leaf* leaf = nullptr;
};

/// Parameters that are gathered and reduced together, in the order of their modules.
class ShardedStep {
 public:
  virtual ~ShardedStep() = default;
  /// The tape's hooks point back to it.
  ShardedStep(const ShardedStep&) = delete;
  ShardedStep& operator=(const ShardedStep&) = delete;

  /// Group 0 is that of the model itself: what is in no other. `copies`: equal layers that a group
  /// stands for. `after_forward`: as Fsdp::after_forward, of FSDP2.
  virtual void add_group(std::vector<ShardedParam> params, int64_t copies,
                         std::optional<int64_t> after_forward) = 0;

  /// Fills what lives when the last micro-batch begins, which its owner counts.
  virtual void place() = 0;
  Bytes weights() const { return Bytes(weights_); }            ///< the shards
  Bytes gradients() const { return Bytes(gradients_); }        ///< of earlier micro-batches
  Bytes host_weights() const { return Bytes(host_weights_); }  ///< the same of an offload
  Bytes host_gradients() const { return Bytes(host_gradients_); }

  /// Around the model's forward: what it returns, which a gradient flows back to.
  virtual void enter_model() = 0;
  virtual void leave_model(const aten::Tensor& output) = 0;
  /// Around the forward of group `index`, which alone holds its input where the caller gives it
  /// away.
  using Module = std::function<aten::Tensor(aten::Tensor)>;
  virtual aten::Tensor layer(size_t index, aten::Tensor hidden, const Module& forward) = 0;
  /// Whether a layer's checkpoint lies within the group, which runs once then, or around it.
  virtual bool wraps_checkpoints() const = 0;

  /// What model.parameters() and their gradients hold between forward and backward.
  virtual Bytes registered() const = 0;
  virtual Bytes registered_gradients() const = 0;

  /// What is whole when the last micro-batch begins, for one before it has left it so.
  virtual Bytes whole_from_before() const { return {}; }
  /// Gradients that the optimizer's zero_grad does not reach.
  virtual Bytes left_by_step() const { return {}; }

  /// What the optimizer steps, where that is not each parameter's share.
  virtual std::vector<StepParam> stepped() const { return {}; }

 protected:
  ShardedStep(aten::Session& session, const Job& job) : session_(session), job_(job) {}
  void take(int64_t aten::Level::*lane, int64_t bytes, std::string_view op) {
    session_.ledger.add(lane, bytes);
    session_.ledger.note(op);
  }
  void drop(int64_t aten::Level::*lane, int64_t bytes) { session_.ledger.add(lane, -bytes); }

  aten::Session& session_;
  const Job& job_;
  int64_t weights_ = 0, gradients_ = 0, host_weights_ = 0, host_gradients_ = 0;
};

/// Of a job that fsdp::shards_parameters.
std::unique_ptr<ShardedStep> make_sharded_step(aten::Session& session, const Job& job);

}  // namespace memplan
