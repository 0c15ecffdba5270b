// What DeepSpeed's ZeRO 1 and 2 do with gradients in one backward, on one rank.
// Source: deepspeed/runtime/zero/stage_1_and_2.py, 0.19.8.
#pragma once

#include <string_view>
#include <vector>

#include "ops/aten/session.h"
#include "policy/deepspeed.h"

namespace memplan {

class ZeroStep {
 public:
  ZeroStep(aten::Session& session, const Job& job, std::vector<aten::Leaf*> params);
  /// The leaves' hooks point back to it.
  ZeroStep(const ZeroStep&) = delete;
  ZeroStep& operator=(const ZeroStep&) = delete;

  const deepspeed::FlatGroup& group() const { return group_; }
  /// Gradients of earlier micro-batches, when the last one begins; marks leaves that have one. The
  /// buckets, which stage 1 made with the first of them, it counts itself.
  Bytes place();
  Bytes buckets() const { return Bytes(buckets_); }  ///< those that live
  /// Behind the backward: what waits is reduced, buckets go.
  void finish_backward();

 private:
  void accumulated(size_t param);
  void make_buckets();
  void reduce(size_t param);  ///< reduce_independent_p_g_buckets_and_remove_grads
  void flush();               ///< reduce_ipg_grads
  void average();             ///< average_tensor of what is in the bucket
  void drop_gradient(size_t param);
  int64_t gradient_bytes(int64_t elements) const;
  bool in_backward() const;  ///< gradients are reduced as backward makes them

  aten::Session& session_;
  const Job& job_;
  deepspeed::FlatGroup group_;
  std::vector<aten::Leaf*> params_;
  std::vector<size_t> waiting_;  ///< in the bucket
  int64_t filled_ = 0;           ///< elements of them
  int64_t buckets_ = 0;          ///< bytes
  int64_t held_ = 0;             ///< grads_in_partition of this micro-batch
};

}  // namespace memplan
