#include "policy/deepspeed.h"

#include <algorithm>
#include <numeric>

#include "memplan/error.h"
#include "ops/optimizer.h"
#include "policy/step_ledger.h"

namespace memplan::deepspeed {

bool partitions(const Strategy& s) { return s.framework == Framework::deepspeed; }

Wrapper wrapper(const Strategy& s) {
  if (s.zero == 3) return Wrapper::zero_3;
  if (s.zero == 0) {
    if (size_of(s.precision.weight) == 4) return Wrapper::plain;
    return s.deepspeed.own_optimizer ? Wrapper::fused : Wrapper::unfused;
  }
  const bool widens = s.precision.weight == DType::bf16 && s.precision.gradient == DType::f32;
  return s.zero == 1 && widens ? Wrapper::bf16 : Wrapper::zero_1_and_2;
}

bool casts_model(const Strategy& s) { return partitions(s) && size_of(s.precision.weight) == 2; }

DType bit16(const Strategy& s) { return s.precision.weight; }

// nccl_start_alignment_factor = 2: a group is padded to a multiple of 2 · world.
FlatGroup::FlatGroup(std::vector<int64_t> elements, int64_t world) : world_(world) {
  for (int64_t n : elements) offset_.push_back(checked_add(offset_.back(), n));
  partition_ = checked_mul(2, ceil_div(offset_.back(), checked_mul(2, world)));
}

int64_t FlatGroup::within(size_t param, int64_t rank) const {
  const int64_t first = rank * partition_;
  return std::max<int64_t>(
      0, std::min(offset_[param + 1], first + partition_) - std::max(offset_[param], first));
}

int64_t FlatGroup::touched(int64_t rank) const {
  int64_t sum = 0;
  for (size_t i = 0; i < size(); ++i)
    if (within(i, rank) > 0) sum = checked_add(sum, elements(i));
  return sum;
}

int64_t FlatGroup::worst_rank() const {
  std::vector<int64_t> held(static_cast<size_t>(world_));
  for (size_t i = 0; i < size(); ++i)
    for (auto [rank, last] = owners(i); rank <= last; ++rank)
      held[static_cast<size_t>(rank)] += elements(i);
  return std::ranges::max_element(held) - held.begin();
}

std::pair<int64_t, int64_t> FlatGroup::owners(size_t param) const {
  return {offset_[param] / partition_, (offset_[param + 1] - 1) / partition_};
}

// get_grad_norm_direct, step, _optimizer_step. The gradients are freed once they are flat and fp32.
StepPeak step_peak(const FlatGroup& group, int64_t rank, DType gradient, const StepPeak& inner) {
  StepLedger ledger;
  Value held = ledger.found(checked_mul(group.touched(rank), size_of(gradient)));
  int tensors = 0;
  int64_t filled = 0;
  std::vector<Value> norms;
  for (size_t i = 0; i < group.size(); ++i) {
    const int64_t own = group.within(i, rank);
    if (own == 0) continue;
    ++tensors;
    filled += own;
    const Value wide = ledger.make("aten._to_copy.default", checked_mul(own, size_of(DType::f64)));
    norms.push_back(ledger.make("aten.linalg_vector_norm.default", size_of(DType::f64)));
  }
  norms.clear();
  Value flat;  // one tensor alone is flat already
  if (tensors > 1 || filled < group.partition())
    flat = ledger.make("aten.cat.default", checked_mul(group.partition(), size_of(gradient)));
  Value wide = flat ? flat : held;  // fp32 already
  if (gradient != DType::f32)
    wide =
        ledger.make("aten._to_copy.default", checked_mul(group.partition(), size_of(DType::f32)));
  flat.reset();
  held.reset();
  ledger.make(inner.at, inner.transient.count());
  return ledger.peak();
}

// has_inf_or_nan and norms are of one gradient at a time; then all of them live in fp32 too.
StepPeak unfused_step(const FlatGroup& group, DType gradient, const StepPeak& inner) {
  StepLedger ledger;
  const auto wide = [&](size_t i) {
    return ledger.make("aten._to_copy.default",
                       checked_mul(group.elements(i), size_of(DType::f32)));
  };
  if (gradient != DType::f32)
    for (size_t i = 0; i < group.size(); ++i) wide(i);
  std::vector<Value> gradients;
  for (size_t i = 0; i < group.size(); ++i) gradients.push_back(wide(i));
  ledger.make(inner.at, inner.transient.count());
  return ledger.peak();
}

// The 16-bit gradients go once the flat one exists.
StepPeak fused_step(const FlatGroup& group, DType gradient, const StepPeak& inner) {
  StepLedger ledger;
  Value narrow = ledger.found(checked_mul(group.elements(), size_of(gradient)));
  Value flat;
  {
    std::vector<Value> wide;
    for (size_t i = 0; i < group.size(); ++i)
      wide.push_back(ledger.make("aten._to_copy.default",
                                 checked_mul(group.elements(i), size_of(DType::f32))));
    if (group.size() > 1)
      flat = ledger.make("aten.cat.default", checked_mul(group.elements(), size_of(DType::f32)));
    else
      flat = wide.front();
  }
  narrow.reset();
  ledger.make(inner.at, inner.transient.count());
  return ledger.peak();
}

namespace {

// ZeRO-3's hooks see every module, also those that a method puts in.
void refuse_peft_modules(const PeftSpec& peft) {
  const auto refuse = [](const std::string& what) {
    throw Error(
        ErrorKind::not_modelled, "--peft",
        "the modules of " + what + ", around which ZeRO-3 gathers parameters, are not named",
        "use lora on linear layers, or --zero 2");
  };
  if (peft.kind != PeftKind::lora) refuse(std::string(to_string(peft.kind)));
  if (peft.number(PeftNumber::dora) != 0) refuse("DoRA");
  if (peft.block_diagonal.blocks > 0) refuse("block-diagonal LoRA");
  if (!peft.modules_to_save.empty()) refuse("modules_to_save");
}

}  // namespace

void require_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  const auto refuse = [](const std::string& where, const std::string& problem,
                         const std::string& hint) {
    throw Error(ErrorKind::not_modelled, where, problem, hint);
  };
  if (s.offload.optimizer != Placement::gpu || s.offload.gradients != Placement::gpu ||
      s.offload.parameters != Placement::gpu)
    refuse("--offload", "ZeRO-Offload's and ZeRO-Infinity's buffers are not modelled",
           "leave it away, or use --framework textbook");
  const Wrapper around = wrapper(s);
  const bool narrow = size_of(s.precision.weight) == 2;
  if (s.precision.autocast || narrow != s.precision.master.has_value())
    refuse("--precision " + s.precision.name,
           "only the 16-bit engine with fp32 master weights and the one of fp32 are modelled",
           "use --precision mixed-bf16, mixed-fp16 or fp32");
  if (s.precision.gradient != s.precision.weight && around != Wrapper::bf16 && s.zero != 3)
    refuse("--grad-dtype",
           s.zero == 0 ? "DeepSpeed itself refuses gradients in another dtype without ZeRO"
                       : "gradients accumulated in another dtype are modelled in stage 1 of bf16 "
                         "alone, for which DeepSpeed takes its BF16_Optimizer",
           "leave data_types.grad_accum_dtype away");
  if (s.precision.optimizer != DType::f32 || (narrow && *s.precision.master != DType::f32))
    refuse("--optimizer-dtype", "16-bit optimizer states are not modelled", "use fp32");
  if (s.zero > 0 && !s.deepspeed.contiguous_gradients)
    refuse("contiguous_gradients false",
           "gradients that are reduced where they are, flattened for "
           "each bucket, are not modelled",
           "leave it true");
  if (s.zero > 0 && s.deepspeed.round_robin_gradients)
    refuse("round_robin_gradients", "partitions in turns are not modelled", "leave it away");
  if (s.zero == 3 && !s.deepspeed.reduce_scatter)
    refuse("reduce_scatter false", "buckets that are all-reduced in place are not modelled",
           "leave it true");
  if (job.model.decoder_layers > 0)
    refuse("--framework deepspeed", "an encoder-decoder is not modelled",
           "use --framework huggingface");
  if (job.model.moe.experts > 0 && s.ep > 1)
    refuse("--ep", "DeepSpeed-MoE is not modelled", "leave it away");
  if (s.quantization.kind != QuantKind::none)
    refuse("--quantization", "quantized weights under ZeRO are not modelled",
           "leave it away, or use --framework huggingface");
  if (s.peft.kind != PeftKind::none && s.zero == 3) {
    refuse_peft_modules(s.peft);
    if (s.recompute != Recompute::none)
      refuse("--recompute",
             "inputs that are made to require gradients, for adapters under ZeRO-3, are "
             "not modelled",
             "leave it away, or use --zero 2");
  }
  if (s.data_parallel == DataParallelKind::data_parallel)
    throw Error(ErrorKind::bad_input, "--data-parallel", "a DeepSpeed engine takes the place of it",
                "leave it away");
  if (s.compile) refuse("--compile", "DeepCompile is not modelled", "leave it away");
  if (s.loss == LossKind::torchtitan_chunked)
    refuse("--loss torchtitan-chunked", "it runs a backward for each chunk", "use another loss");
  switch (s.optimizer) {
    case OptimizerKind::adamw:
    case OptimizerKind::adam:
    case OptimizerKind::sgd:
    case OptimizerKind::sgd_momentum:
      break;
    default:
      refuse("--optimizer " + std::string(to_string(s.optimizer)),
             "what it does with a flat partition is not modelled",
             "use adamw, adam, sgd or sgd-momentum");
  }
  if (updates_in_backward(s))
    refuse("--optimizer-in-backward", "ZeRO reduces gradients before they are spent",
           "leave it away");
}

namespace {

std::string_view class_name(Wrapper w) {
  switch (w) {
    case Wrapper::plain:
      return "the optimizer alone";
    case Wrapper::unfused:
      return "FP16_UnfusedOptimizer";
    case Wrapper::fused:
      return "FP16_Optimizer";
    case Wrapper::bf16:
      return "BF16_Optimizer";
    case Wrapper::zero_1_and_2:
      return "DeepSpeedZeroOptimizer";
    case Wrapper::zero_3:
      return "DeepSpeedZeroOptimizer_Stage3";
  }
  return {};
}

}  // namespace

std::vector<std::string> assumptions(const Job& job) {
  const Strategy& s = job.strategy;
  const DeepSpeed& d = s.deepspeed;
  const Wrapper around = wrapper(s);
  const std::string start = "DeepSpeed 0.19.8, " + std::string(class_name(around)) + " of stage " +
                            std::to_string(s.zero);
  if (around == Wrapper::bf16)
    return {start +
                ": bf16 whose gradients are accumulated in fp32, in a flat tensor that no rank "
                "cuts",
            "one group of parameters; Trainer's two are padded each"};
  if (around == Wrapper::zero_3) {
    std::vector<std::string> out = {
        start + ": reduce_bucket_size " + std::to_string(d.reduce_bucket_size) +
            ", prefetch_bucket_size " + std::to_string(d.prefetch_bucket_size) +
            ", param_persistence_threshold " + std::to_string(d.param_persistence_threshold) +
            ", max_live_parameters " + std::to_string(d.max_live_parameters) +
            ", max_reuse_distance " + std::to_string(d.max_reuse_distance) + ", sub_group_size " +
            std::to_string(d.sub_group_size),
        "what gathers and reduces is freed in the program's order, not held back by its stream",
        "one group of parameters; Trainer's two are stepped one after the other"};
    if (d.gather_16bit_weights_on_model_save)
      out.push_back(
          "saving gathers 16-bit weights module by module into the first rank's host memory");
    return out;
  }
  if (around != Wrapper::zero_1_and_2)
    return {start +
            ": gradients stay whole and are reduced with the last micro-batch, flattened "
            "500000000 elements at a time"};
  return {start + ": reduce_bucket_size " + std::to_string(d.reduce_bucket_size) +
              (d.overlap_comm.value_or(false) ? ", two buckets (overlap_comm)" : ", one bucket"),
          "reduce_scatter and use_multi_rank_bucket_allreduce, DeepSpeed's defaults",
          "one group of parameters; Trainer's two (with and without weight decay) are padded each "
          "and stepped one after the other"};
}

std::vector<std::string> not_modelled(const Job&) {
  return {"DeepSpeed's start (flat copies of the weights) and checkpoint saving"};
}

}  // namespace memplan::deepspeed
