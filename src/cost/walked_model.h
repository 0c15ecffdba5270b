// A model's blocks as the eager walk visits them, with their parameters.
#pragma once

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "cost/replica.h"
#include "lower/huggingface/module.h"
#include "lower/program.h"

namespace memplan {

/// One block as it is walked: once, for as many equal ones as its stretch has rounds.
struct Walked {
  const Block* block;
  std::unique_ptr<hf::Params> params;
  int stretch;
};

/// Parameters by block of the walk and place in its graph.
using ParamSet = std::set<std::pair<size_t, size_t>>;

class WalkedModel {
 public:
  /// The model's blocks in order but the loss; runs of layers become stretches where `folded`.
  WalkedModel(aten::Session& session, const Job& job, const Program& program, bool folded);

  const std::vector<Walked>& blocks() const { return blocks_; }
  int64_t rounds(const Walked& w) const { return rounds_[static_cast<size_t>(w.stretch) - 1]; }
  /// Of a block's graph, the parameters as its modules register them.
  std::vector<size_t> registered(const Walked& w) const;

  /// Bytes of tensors that are no parameters: PEFT's, registered as buffers or not.
  int64_t buffer_bytes(bool registered) const;
  /// Trainable parameters that no gradient has reached.
  ParamSet unreached() const;
  /// Each parameter of each round, in order.
  std::vector<FlatTensor> flat() const;

 private:
  FamilyRow row_;
  std::vector<Walked> blocks_;
  std::vector<int64_t> rounds_;  // by stretch
};

}  // namespace memplan
