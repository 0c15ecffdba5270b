// The tape: nodes with what they saved, and PyTorch's engine that runs them backwards
// (torch/csrc/autograd/engine.cpp, input_buffer.cpp, functions/accumulate_grad.cpp).
#pragma once

#include <functional>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "ops/aten/session.h"
#include "ops/aten/tensor.h"

namespace memplan::aten {

/// What of a saved tensor's backward reads it: a compiler fuses pointwise operators and makes what
/// they read again, but never what a kernel of its own (a matrix product, attention) reads.
enum class ReadBy : uint8_t { pointwise, kernel };

/// A tensor that an operator keeps for its backward. An operator's are kept in the alphabetical
/// order of their names in derivatives.yaml, its results after its arguments. Under a checkpoint it
/// keeps a place in the frame instead.
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Tensor& x, ReadBy reader = ReadBy::pointwise);
  /// Runs the checkpoint again where needed.
  Tensor get() const;

 private:
  struct Slot {
    Tensor value;
    Ref<CheckpointFrame> frame;
    int64_t index = 0;
    Session* offloaded = nullptr;  ///< to host memory, as tensor number `index`
    int refs = 0;
    Slot() = default;
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot();
  };
  Ref<Slot> slot_;
};

/// What a node's backward reads and writes. Outputs are those of the forward's inputs, in order.
class Grads {
 public:
  Grads(std::vector<Tensor> in, Node& node);
  /// Gradient of the forward's i-th output; empty where nothing flowed into it.
  const Tensor& in(int i = 0) const { return in_[static_cast<size_t>(i)]; }
  /// Whether the forward's i-th input wants a gradient.
  bool wants(int i) const;
  void set(int i, Tensor grad) { out_[static_cast<size_t>(i)] = std::move(grad); }
  Session& session() const;

 private:
  friend class Engine;
  std::vector<Tensor> in_, out_;
  Node& node_;
};

/// Whether autograd records an operator on these inputs.
bool tracks(std::initializer_list<const Tensor*> inputs);
bool tracks(const Tensor& x);

/// Hangs a node with this backward on `outputs`. Call only where tracks(inputs).
void record(std::initializer_list<Tensor*> outputs, std::initializer_list<const Tensor*> inputs,
            Backward backward);
void record(std::span<Tensor> outputs, std::span<const Tensor> inputs, Backward backward);

/// ctx.NAME = x in the torch.autograd.Function that gave `out`: unlike a saved tensor it stays
/// through checkpoints and backward, until the tape itself goes.
void hold_on_tape(const Tensor& out, const Tensor& x);

/// x.register_hook(hook) of a hook that leaves the gradient as it is: runs once x's gradient is
/// there, before the operator that gave x goes backward.
void on_gradient(const Tensor& x, std::function<void()> hook);

/// Runs `hook` once the gradient of `x` that flows into what follows is there. Returns what a
/// torch.autograd.Function returns that hands its input on: a view of it.
Tensor before_gradient_of(const Tensor& x, std::function<void()> hook);

/// loss.backward(gradient, retain_graph): without a gradient, ones.
void run_backward(Session& session, Tensor loss, const Tensor& gradient = {},
                  bool retain_graph = false);

/// torch.autograd.backward(tensors, gradients): a tensor whose gradient is empty is left out.
void run_backward(Session& session, std::span<const Tensor> tensors,
                  std::span<const Tensor> gradients);

/// What torch.utils.checkpoint is told besides.
struct Checkpointing {
  bool stops_early = true;  ///< set_checkpoint_early_stop
  /// context_fn=create_selective_checkpoint_contexts: whether the results of this operator, which
  /// forward runs now, are kept rather than made again. Of matrix products and fused attention.
  /// Empty: none.
  std::function<bool(std::string_view op)> saves = {};
};

/// The results of an operator that a checkpoint may keep: what `run` makes, or what was kept.
std::vector<Tensor> checkpointed_results(Session& session, std::string_view op,
                                         const std::function<std::vector<Tensor>()>& run);

/// Runs `body` as torch.utils.checkpoint(use_reentrant=False) does. The body must be callable
/// twice; it holds what the checkpoint's arguments and closure hold, `input` among them where it
/// lives for nothing else.
Tensor checkpoint(Session& session, const Tensor& input, std::function<Tensor()> body,
                  Checkpointing how = {});

/// The same with use_reentrant=True: forward runs without autograd and keeps `x` (and what the body
/// holds); its node's backward runs the whole body again, and its own backward within.
Tensor checkpoint_reentrantly(Session& session, const Tensor& x,
                              std::function<Tensor(const Tensor&)> body);

}  // namespace memplan::aten
