#include "policy/deepspeed.h"

#include <doctest/doctest.h>

#include "memplan/error.h"

namespace memplan::deepspeed {
namespace {

TEST_CASE("the flat group is padded to a multiple of two elements a rank") {
  const FlatGroup group({10, 3, 8}, 4);  // 21 elements: to 24, 6 a rank
  CHECK(group.partition() == 6);
  CHECK(group.padded() == 24);
  CHECK(FlatGroup({8}, 2).padded() == 8);
  CHECK(FlatGroup({9}, 2).padded() == 12);  // of 4
}

TEST_CASE("a partition cuts through parameters and keeps whole gradients of them") {
  const FlatGroup group({10, 3, 8}, 4);  // [0, 10) [10, 13) [13, 21)
  CHECK(group.within(0, 0) == 6);
  CHECK(group.within(0, 1) == 4);
  CHECK(group.within(1, 1) == 2);
  CHECK(group.within(2, 3) == 3);  // [18, 21), and 3 of padding
  CHECK(group.owners(0) == std::pair<int64_t, int64_t>(0, 1));
  CHECK(group.owners(2) == std::pair<int64_t, int64_t>(2, 3));
  CHECK(group.touched(0) == 10);
  CHECK(group.touched(1) == 13);
  CHECK(group.touched(2) == 11);
  CHECK(group.touched(3) == 8);
  CHECK(group.worst_rank() == 1);
}

TEST_CASE("a step has the gradients twice, flat the second time, and once in fp32") {
  const FlatGroup group({100, 50}, 1);
  const StepPeak none;
  const StepPeak peak = step_peak(group, 0, DType::bf16, none);
  CHECK(peak.at == "aten._to_copy.default");
  // Norm of the first: 100 elements in fp64. Flat: 150 · 2, then 150 · 4.
  CHECK(peak.transient == Bytes(150 * 2 + 150 * 4));
  // One tensor alone is flat already.
  CHECK(step_peak(FlatGroup({100}, 1), 0, DType::bf16, none).transient == Bytes(100 * 8 + 8));
  // fp32 gradients are flat once, and no copy is made of them.
  CHECK(step_peak(FlatGroup({50, 50, 50}, 1), 0, DType::f32, none).transient == Bytes(150 * 4));
  // Once it is fp32 both are gone: 300 bytes less, and the optimizer's own above 600.
  const StepPeak large = step_peak(group, 0, DType::bf16, {Bytes(1000), "aten._foreach_sqrt"});
  CHECK(large.transient == Bytes(600 - 300 + 1000));
  CHECK(large.at == "aten._foreach_sqrt");
}

TEST_CASE("without ZeRO the optimizer decides how fp32 weights lie") {
  Strategy s;
  s.framework = Framework::deepspeed;
  s.precision = parse_precision("fp32", "");
  CHECK(wrapper(s) == Wrapper::plain);
  s.precision = parse_precision("mixed-bf16", "");
  CHECK(wrapper(s) == Wrapper::unfused);
  s.deepspeed.own_optimizer = true;
  CHECK(wrapper(s) == Wrapper::fused);
  s.zero = 1;
  CHECK(wrapper(s) == Wrapper::zero_1_and_2);
  s.precision.gradient = DType::f32;
  CHECK(wrapper(s) == Wrapper::bf16);
  s.zero = 2;
  CHECK(wrapper(s) == Wrapper::zero_1_and_2);
}

TEST_CASE("a step without ZeRO has all gradients in fp32") {
  const FlatGroup group({100, 50}, 4);
  const StepPeak inner{Bytes(70), "aten._foreach_sqrt.default"};
  // Beside the 16-bit ones, for which FP16_UnfusedOptimizer never makes room.
  CHECK(unfused_step(group, DType::bf16, inner).transient == Bytes(150 * 4 + 70));
  // FP16_Optimizer: one by one, then flat; the narrow ones go before the optimizer runs.
  const StepPeak flat = fused_step(group, DType::bf16, inner);
  CHECK(flat.transient == Bytes(2 * 150 * 4));
  CHECK(flat.at == "aten.cat.default");
  CHECK(fused_step(FlatGroup({100}, 4), DType::bf16, inner).transient == Bytes(400));
}

TEST_CASE("what of DeepSpeed is not modelled is refused by name") {
  Job job;
  Strategy& s = job.strategy;
  s.framework = Framework::deepspeed;
  s.precision = parse_precision("mixed-bf16", "");
  s.zero = 2;
  CHECK_NOTHROW(require_modelled(job));
  const auto refused = [](Job changed, std::string_view word) {
    try {
      require_modelled(changed);
      FAIL_CHECK("accepted: " << word);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::not_modelled);
      CHECK(std::string(error.what()).find(word) != std::string::npos);
    }
  };
  Job other = job;
  other.strategy.zero = 3;
  CHECK_NOTHROW(require_modelled(other));
  other.strategy.deepspeed.reduce_scatter = false;
  refused(other, "reduce_scatter");
  other = job;
  other.strategy.offload.optimizer = Placement::cpu;
  refused(other, "ZeRO-Offload");
  other = job;
  other.strategy.precision.gradient = DType::f32;
  refused(other, "BF16_Optimizer");
  other = job;
  other.strategy.peft = make_peft(PeftKind::vera);
  CHECK_NOTHROW(require_modelled(other));
  other.strategy.zero = 3;
  refused(other, "the modules of vera");
  other.strategy.peft = make_peft(PeftKind::lora);
  CHECK_NOTHROW(require_modelled(other));
  other.strategy.peft.modules_to_save = {"lm_head"};
  refused(other, "modules_to_save");
  other = job;
  other.strategy.precision = parse_precision("fp32", "");
  for (int stage : {0, 1, 2, 3}) {
    other.strategy.zero = stage;
    CHECK_NOTHROW(require_modelled(other));
  }
  other = job;
  other.strategy.optimizer = OptimizerKind::adam8bit;
  refused(other, "adam8bit");
  other = job;
  other.strategy.deepspeed.contiguous_gradients = false;
  refused(other, "contiguous_gradients");
}

}  // namespace
}  // namespace memplan::deepspeed
