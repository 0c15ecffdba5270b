// What Megatron-FSDP does around the modules of one micro-batch, on one rank
// (core/distributed/fsdp/src/megatron_fsdp/megatron_fsdp.py, AllGatherPipeline and
// GradReducePipeline of param_and_grad_buffer.py; 0.16 to 0.18).
#pragma once

#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "lower/megatron/parameters.h"
#include "ops/aten/autograd.h"
#include "policy/megatron_fsdp.h"

namespace memplan::megatron {

/// A block's parameters, experts apart: one of each local expert.
FsdpUnit fsdp_unit(const Graph& graph, const Job& job);

/// The buckets of a stage's parameters.
std::vector<FsdpBucket> stage_buckets(const Job& job, const Program& program, int64_t stage);

class FsdpUnits {
 public:
  FsdpUnits(aten::Session& session, const Job& job) : session_(session), job_(job) {}
  /// The tape's hooks point back to it.
  FsdpUnits(const FsdpUnits&) = delete;
  FsdpUnits& operator=(const FsdpUnits&) = delete;

  /// Those of a block outside of layers, or of the next layer; `leaves` in the order of its graph.
  void add_root(const Graph& graph, std::span<aten::Leaf* const> leaves);
  void add_layer(const Graph& graph, std::span<aten::Leaf* const> leaves);
  /// Once all are there.
  void seal();

  /// Before the forward of a module outside of layers that has this parameter.
  void root(const aten::Tensor& weight);
  using Module = std::function<aten::Tensor(aten::Tensor)>;
  aten::Tensor layer(size_t index, aten::Tensor hidden, const Module& forward);
  /// What the model's forward returns, which a gradient flows back to.
  void leave_model(const aten::Tensor& output);

 private:
  enum class Ahead : uint8_t { forward, backward };
  struct Bucket {
    int64_t elements = 0, gathered = 0, reduced = 0;
    size_t params = 0, ready = 0;
    bool of_layer = false, whole = false, may_go = false, has_gradients = false;
  };
  struct Range {
    size_t first = 0, end = 0;
  };
  struct Named {
    std::vector<aten::Leaf*> dense, expert;
  };

  void name(Named& names, const Graph& graph, std::span<aten::Leaf* const> leaves);
  void gather(Range wanted, Ahead ahead);
  void gather_one(Bucket& bucket);
  void release(Bucket& bucket);
  void accumulated(size_t bucket, aten::Leaf& leaf);
  void finish_backward();

  aten::Session& session_;
  const Job& job_;
  FsdpUnit root_;
  std::vector<FsdpUnit> layers_;
  Named root_leaves_;
  std::vector<Named> layer_leaves_;
  std::vector<size_t> root_buckets_;  ///< of each of root_leaves_
  std::vector<Range> ranges_;         ///< of each layer
  std::vector<Bucket> buckets_;
  std::deque<size_t> queue_;  ///< of buckets whose gradients are being reduced
  FsdpLimits limits_{};
};

}  // namespace memplan::megatron
