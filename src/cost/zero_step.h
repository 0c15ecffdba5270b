// What DeepSpeed's ZeRO 1 and 2 do with gradients in one backward, on one rank.
// Source: deepspeed/runtime/zero/stage_1_and_2.py, 0.19.8.
#pragma once

#include <string_view>
#include <vector>

#include "cost/engine_step.h"
#include "policy/deepspeed.h"

namespace memplan {

class ZeroStep : public EngineStep {
 public:
  ZeroStep(aten::Session& session, const Job& job, std::vector<aten::Leaf*> params);

  Bytes weights() const override;
  Bytes masters() const override;
  Bytes scalars() const override;
  std::vector<StepParam> stepped() const override;
  bool makes_states_beforehand() const override { return true; }
  /// Stage 1 makes its buckets with the first micro-batch's gradients.
  Bytes place() override;
  Bytes buckets() const override { return Bytes(buckets_); }
  bool scales_loss() const override { return true; }
  /// What waits is reduced, buckets go.
  void finish_backward() override;
  StepPeak step_peak(const deepspeed::InnerStep& inner) const override;
  int64_t worst_rank() const override { return group_.worst_rank(); }

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
  int64_t frozen_;  ///< bytes of what is not trained
  std::vector<aten::Leaf*> params_;
  deepspeed::FlatGroup group_;
  std::vector<size_t> waiting_;  ///< in the bucket
  int64_t filled_ = 0;           ///< elements of them
  int64_t buckets_ = 0;          ///< bytes
  int64_t held_ = 0;             ///< grads_in_partition of this micro-batch
};

}  // namespace memplan
