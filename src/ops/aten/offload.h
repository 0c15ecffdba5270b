// torchtune's OffloadActivations (torchtune/training/_activation_offloading.py, 0.4.0), with
// streams: what autograd saves waits for backward in host memory.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "ops/aten/tensor.h"

namespace memplan::aten {

class Offloading {
 public:
  static constexpr int64_t kMaxFwdStashSize = 5;
  static constexpr int64_t kMinOffloadSize = 1024;  ///< bytes; smaller tensors stay

  /// Whether its saved_tensors_hooks are the innermost: not under NoOpManager's.
  bool active = false;

  /// pack_tensor: gives a tensor that a node saves a number. A large one is copied to the host and
  /// dropped once kMaxFwdStashSize numbers have passed.
  int64_t pack(const Tensor& activation);
  /// unpack_tensor_with_streams, by the node that runs.
  Tensor unpack(int64_t id);
  /// The hooks of a node that has run: with them go what forward has left and what the node before
  /// this one had brought back.
  void node_done(const std::vector<Tensor>& outputs);
  /// wait_and_del_remaining_references
  void finish() { bwd_stash_.clear(); }

 private:
  struct Tracked {
    Tensor resident;  ///< empty: in host memory
    Shape sizes, strides;
    DType dtype = DType::f32;
  };
  int64_t last_id_ = 0;
  Session* session_ = nullptr;
  std::map<int64_t, Tracked> tracker_;
  std::map<int64_t, Tensor> fwd_stash_, bwd_stash_;
  // Of the node that runs.
  std::map<int64_t, Tensor> unpacked_;
  std::vector<int64_t> previous_, brought_;
  bool hooked_ = false;
};

}  // namespace memplan::aten
