// What is global to a PyTorch process: the ledger, grad mode, autocast and its cache, checkpoints.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "memplan/job.h"
#include "ops/aten/ledger.h"
#include "ops/aten/quantized.h"
#include "ops/aten/tensor.h"

namespace memplan::aten {

class Session;
class Offloading;

/// Spends a gradient inside backward: the optimizer's update of this one parameter.
struct Spend {
  enum class When : uint8_t {
    accumulated,  ///< by a hook on its accumulation: torch's register_post_accumulate_grad_hook
    next,         ///< by a hook on the next parameter's gradient, which finds this one (LOMO)
  } when = When::accumulated;
  int64_t transient = 0;          ///< highest live bytes above the gradient itself
  std::string_view at = "start";  ///< the operator that reaches it
};

/// A parameter: its tensor, its gradient, and the node that accumulates into it.
struct Leaf {
  Tensor value;
  Tensor grad;
  Ref<Node> accumulate;
  int64_t copies = 1;        ///< equal parameters it stands for
  bool grad_exists = false;  ///< from an earlier micro-batch; counted by its owner
  bool reached = false;      ///< by a gradient of this backward
  bool in_bucket = false;    ///< DDP copies a new gradient into its bucket and drops it
  std::optional<QuantFormat> quantized = {};  ///< `value` has the dtype it was loaded in
  std::optional<Spend> spend = {};
  std::function<void()> on_accumulated = {};  ///< register_post_accumulate_grad_hook
};

/// Non-reentrant activation checkpointing (torch/utils/checkpoint.py, 2.14): forward saves nothing;
/// the first node that needs something runs forward again, which stops once the last of the tensors
/// that forward saved is back.
struct CheckpointFrame {
  Session* session = nullptr;
  std::function<void()> again;
  std::optional<DType> autocast;
  int saved = 0;  ///< tensors that forward packed
  bool recomputed = false;
  bool stops_early = true;
  // create_selective_checkpoint_contexts: of operators whose results may be kept, in order; empty:
  // to be run again.
  std::function<bool(std::string_view op)> saves;
  std::vector<std::vector<Tensor>> results;
  size_t next_result = 0;
  std::vector<Tensor> tensors;  ///< by order of packing
  int refs = 0;
};

class Session {
  std::vector<Storage*> kept_;  // outlives all that holds a tensor

 public:
  Session(Backend backend, Version torch);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Ledger ledger;
  Backend backend;
  Version torch;
  /// A TorchDispatchMode watches: gradients that meet are summed into a new tensor, never in place,
  /// and what a kernel allocates for itself is not seen.
  bool watched = false;
  bool fake_tensors = false;  ///< without devices, within a kernel
  /// Of the GPU, major · 10 + minor: it decides which attention kernels run.
  int compute_capability = 80;
  bool rounds_to_512 = false;  ///< the CUDA caching allocator's smallest block
  std::optional<DType> autocast;

  bool grad_enabled = true;
  uint64_t next_sequence = 0;
  int compiled_regions = 0;
  int stretch = 0;                      ///< nodes made now belong to this repeated stretch; 0: none
  std::vector<int64_t> stretch_counts;  ///< by stretch
  std::unique_ptr<Offloading> offloading;  ///< torchtune's, where the job offloads
  Ref<CheckpointFrame> packing;            ///< forward of a checkpoint runs
  Ref<CheckpointFrame> recomputing;        ///< forward of a checkpoint runs again
  bool running_again = false;              ///< the same of a module whose outputs were dropped
  /// Run when the backward ends, before its own gradient goes (Variable._execution_engine's
  /// queue_callback).
  std::vector<std::function<void()>> backward_callbacks;
  /// What the running node took out of its checkpoint, which keeps nothing for a second time.
  std::vector<std::pair<Ref<CheckpointFrame>, size_t>> unpacked;

  int64_t rounded(int64_t bytes) const {
    return rounds_to_512 ? checked_mul(ceil_div(bytes, 512), 512) : bytes;
  }

  /// A parameter. Counted by its owner, not by the ledger's operators.
  Leaf& leaf(const Shape& sizes, DType dtype, bool trainable, int64_t copies);
  /// A matrix [out, in] that bitsandbytes stores: frozen.
  Leaf& quantized_leaf(const Shape& sizes, const QuantFormat& format, int64_t copies);
  /// A parameter whose bytes come and go: its owner counts all of them.
  Leaf& unsharded_leaf(const Shape& sizes, DType dtype, bool trainable, int64_t copies);
  const std::vector<std::unique_ptr<Leaf>>& leaves() const { return leaves_; }

  /// What autograd keeps now, the largest first.
  std::vector<KeptTensors> kept_tensors() const;
  void add_kept(Storage& storage);
  void forget_kept(const Storage& storage);

  /// Runs `stretch` in place of `count` equal ones.
  void repeat(int64_t count, const std::function<void()>& body);

  /// x in the autocast dtype; a trainable fp32 parameter's copy is kept until leave_autocast
  /// (aten/src/ATen/autocast_mode.cpp, cached_cast).
  Tensor cast_for_autocast(const Tensor& x);
  /// x.requires_grad = True where x is no parameter.
  void require_grad(Tensor& x);
  /// Ends the gradients of such tensors.
  void drop_required() { required_.clear(); }
  void leave_autocast() { cast_cache_.clear(); }

 private:
  Leaf& add_leaf(Tensor value, int64_t copies);

  std::vector<std::unique_ptr<Leaf>> leaves_, required_;
  std::vector<std::pair<Leaf*, Tensor>> cast_cache_;
};

/// Runs within torch.compile, where `on`, for the lifetime of the guard.
class Compiled {
 public:
  Compiled(Session& session, bool on) : session_(session), before_(session.ledger.compiled) {
    if (on) session.ledger.compiled = ++session.compiled_regions;
  }
  ~Compiled() { session_.ledger.compiled = before_; }
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

 private:
  Session& session_;
  int before_;
};

/// Runs with autograd off for the lifetime of the guard.
class NoGrad {
 public:
  explicit NoGrad(Session& session) : session_(session), before_(session.grad_enabled) {
    session.grad_enabled = false;
  }
  ~NoGrad() { session_.grad_enabled = before_; }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  Session& session_;
  bool before_;
};

}  // namespace memplan::aten
