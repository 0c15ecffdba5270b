// DeepSpeed engines: which optimizer wraps the job's own, how a flat group of parameters is cut
// over the ranks, and what a step converts.
// Source: deepspeed/runtime/zero/stage_1_and_2.py, DeepSpeedZeroOptimizer, 0.19.8.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "memplan/job.h"
#include "policy/optimizer_step.h"

namespace memplan::deepspeed {

/// Whether the job's optimizer is a DeepSpeed engine's.
bool partitions(const Strategy& strategy);

/// What stands around the job's optimizer (engine.py, _do_optimizer_sanity_check and
/// _configure_fp16_optimizer).
enum class Wrapper : uint8_t {
  plain,         ///< fp32 without ZeRO: nothing
  unfused,       ///< FP16_UnfusedOptimizer: 16 bits without ZeRO, fp32 weights one by one
  fused,         ///< FP16_Optimizer: the same around FusedAdam, in one flat tensor
  bf16,          ///< BF16_Optimizer: stage 1 of bf16 whose gradients are accumulated in fp32
  zero_1_and_2,  ///< DeepSpeedZeroOptimizer
  zero_3,        ///< DeepSpeedZeroOptimizer_Stage3
};
Wrapper wrapper(const Strategy& strategy);

/// Refuses, by name, what of DeepSpeed is not modelled. Throws Error{not_modelled, bad_input}.
void require_modelled(const Job& job);
std::vector<std::string> assumptions(const Job& job);
std::vector<std::string> not_modelled(const Job& job);

/// The engine casts every parameter to 16 bits, adapters too (engine.py,
/// _cast_module_mixed_precision).
bool casts_model(const Strategy& strategy);

/// dtype of the flat group and of gradients: the weights' own.
DType bit16(const Strategy& strategy);

/// Trained parameters behind one another, padded so that each rank has as many elements.
class FlatGroup {
 public:
  FlatGroup() = default;
  /// `elements` of each parameter, in the optimizer's order.
  FlatGroup(std::vector<int64_t> elements, int64_t world);

  int64_t elements() const { return offset_.back(); }
  int64_t partition() const { return partition_; }  ///< elements of one rank
  int64_t padded() const { return checked_mul(partition_, world_); }
  int64_t elements(size_t param) const { return offset_[param + 1] - offset_[param]; }
  size_t size() const { return offset_.size() - 1; }

  /// Elements of `param` that lie in a rank's partition.
  int64_t within(size_t param, int64_t rank) const;
  /// Elements of all parameters that a rank's partition touches, whole: it keeps their gradients.
  int64_t touched(int64_t rank) const;
  /// The rank that keeps the most of them.
  int64_t worst_rank() const;
  /// First and last rank whose partition `param` touches.
  std::pair<int64_t, int64_t> owners(size_t param) const;

 private:
  int64_t world_ = 1, partition_ = 0;
  std::vector<int64_t> offset_{0};
};

/// Highest moment of DeepSpeedZeroOptimizer.step, above what lives when it begins: the touched
/// parameters' gradients among it. `inner`: the optimizer's own peak on the fp32 partition.
StepPeak step_peak(const FlatGroup& group, int64_t rank, DType gradient, const StepPeak& inner);
/// The same of FP16_UnfusedOptimizer and FP16_Optimizer, which have whole gradients.
StepPeak unfused_step(const FlatGroup& group, DType gradient, const StepPeak& inner);
StepPeak fused_step(const FlatGroup& group, DType gradient, const StepPeak& inner);

}  // namespace memplan::deepspeed
