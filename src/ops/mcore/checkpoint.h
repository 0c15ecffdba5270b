// Megatron-core's CheckpointWithoutOutput (core/tensor_parallel/random.py): a module whose outputs
// the next module saves anyway. They are dropped once it has run, and made again, with the module's
// graph, as soon as the gradient of what came of them is there.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "ops/aten/session.h"
#include "ops/aten/tensor.h"

namespace memplan::mcore {

class DiscardedOutputs {
 public:
  using Body = std::function<std::vector<aten::Tensor>(std::span<const aten::Tensor>)>;

  /// `shares`: outputs made again lend their storage (core 0.17) instead of being copied.
  explicit DiscardedOutputs(bool shares) : shares_(shares) {}

  /// Runs `body`, callable twice, on these inputs; without autograd as the module sees it.
  std::vector<aten::Tensor> run(aten::Session& session, std::vector<aten::Tensor> inputs,
                                Body body);

  /// Drops the outputs' bytes until `result`, made of them, has a gradient.
  void discard(const aten::Tensor& result);

 private:
  struct State;
  bool shares_;
  std::shared_ptr<State> state_;
};

}  // namespace memplan::mcore
