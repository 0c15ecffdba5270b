#include "cli/framework_defaults.h"

#include <utility>

#include "cli/settings.h"
#include "memplan/error.h"
#include "ops/optimizer.h"
#include "policy/fsdp.h"
#include "policy/pytorch.h"

namespace memplan {
namespace {

bool is_prepared(const Strategy& s) {
  return s.quantization.kind != QuantKind::none && s.quantization.prepared;
}
void refine_precision(JobDraft& draft) {
  for (const char* option : {"--weight-dtype", "--grad-dtype", "--optimizer-dtype"})
    if (const Given* refined = draft.find(option)) draft.apply(*find_setting(option), *refined);
}

}  // namespace

// A model of another kind trained by Megatron-core: what its arguments would say by default.
void fill_megatron(JobDraft& draft) {
  Strategy& s = draft.built.job.strategy;
  if (s.precision.weight == DType::bf16 && !draft.find("--grad-dtype")) {
    s.precision.gradient = DType::f32;
    draft.assume("gradients in fp32, Megatron-core's default for bf16 weights");
  }
  // Which flash attention is Transformer Engine's choice.
  if (!draft.find("--attention")) s.attention = AttentionKind::flash;
  if (s.attention != AttentionKind::flash) s.megatron.attention = MegatronSpec::Attention::unfused;
}

// Volta and Turing have no bf16 units (compute capability below 8).
void fill_precision(JobDraft& draft) {
  Job& job = draft.built.job;
  const GpuSpec& gpu = job.cluster.gpu;
  const bool has_bf16 = gpu.compute_major == 0 || gpu.compute_major >= 8;
  Precision& precision = job.strategy.precision;
  if (!draft.find("--precision") && !has_bf16) {
    const bool eager = pytorch::is_eager(job.strategy.framework) &&
                       !fsdp::shards_parameters(job.strategy) &&
                       job.strategy.framework != Framework::deepspeed;
    precision = parse_precision(eager ? "amp-fp16" : "mixed-fp16", "--precision");
    refine_precision(draft);
    draft.assume("precision " + precision.name + ", for " + gpu.name + " has no bf16");
    draft.from("precision", "default of a GPU without bf16");
  } else if (!draft.find("--precision") && is_prepared(job.strategy) &&
             !fsdp::shards_parameters(job.strategy)) {
    precision = parse_precision("amp-bf16", "--precision");
    refine_precision(draft);
    draft.assume(
        "precision amp-bf16: autocast, as Trainer's bf16=True, over the fp32 that "
        "prepare_model_for_kbit_training leaves");
    draft.from("precision", "default of quantized weights");
  } else if (!draft.find("--precision")) {
    draft.assume("precision " + precision.name);
  } else if (!has_bf16 && precision.activation == DType::bf16) {
    draft.assume("bf16 on " + gpu.name + ", which only emulates it");
  }
}

// A mixed precision keeps shards in the master's dtype and gathers them in 16 bits: accelerate's
// fsdp2_prepare_model and FullyShardedDataParallelPlugin.set_mixed_precision, 1.15.
void fill_fsdp(JobDraft& draft) {
  Strategy& s = draft.built.job.strategy;
  Precision& precision = s.precision;
  if (precision.master) {
    if (!s.fsdp.param_dtype) s.fsdp.param_dtype = precision.weight;
    // Only what is trained is made fp32 there; peft has done so for LoRA's own matrices.
    const bool frozen = s.peft.kind == PeftKind::lora && s.peft.bias == PeftBias::none &&
                        s.peft.modules_to_save.empty() && s.quantization.kind == QuantKind::none;
    if (!frozen) precision.weight = *precision.master;
    precision.gradient = *precision.master;
    precision.master.reset();
    const bool packed = s.quantization.kind != QuantKind::none;
    draft.assume((frozen   ? "frozen weights are stored in "
                  : packed ? "all but 4-bit weights are stored in "
                           : "weights are stored in ") +
                 std::string(to_string(precision.weight)) + " and gathered in " +
                 std::string(to_string(*s.fsdp.param_dtype)));
  }
  if (!s.fsdp.reduce_dtype) s.fsdp.reduce_dtype = s.fsdp.param_dtype;
  // ZeRO's words for reshard_after_forward: 3 is true, 2 is false.
  const int stage = std::exchange(s.zero, 0);
  if (stage == 1)
    throw Error(ErrorKind::bad_input, draft.find("--zero")->where, "FSDP has no such stage",
                "use --zero 3, or 2 for parameters that stay whole after forward");
  if (fsdp::flattens(s)) {
    if (stage == 2 && !draft.find("--sharding-strategy"))
      s.fsdp.sharding = Fsdp::Sharding::shard_grad_op;
    return;
  }
  if (stage > 0 && !draft.find("--reshard-after-forward"))
    s.fsdp.after_forward = s.fsdp.root_after_forward =
        stage == 2 ? std::optional<int64_t>(1) : std::nullopt;
  const int64_t shards = s.dp / std::max<int64_t>(s.fsdp.replicas, 1);
  for (std::optional<int64_t>* after : {&s.fsdp.after_forward, &s.fsdp.root_after_forward})
    if (shards > 1 && *after == shards) after->reset();
  if (!draft.find("--reshard-after-forward"))
    draft.assume(s.framework == Framework::torchtitan
                     ? "all parameters but norm's and head's are resharded after forward"
                     : "parameters are resharded after forward");
}

void fill_deepspeed(JobDraft& draft) {
  Strategy& s = draft.built.job.strategy;
  if (s.deepspeed.reduce_bucket_size == 0) {
    s.deepspeed.reduce_bucket_size =
        checked_mul(draft.built.job.model.hidden, draft.built.job.model.hidden);
    draft.from("reduce_bucket_size", "auto: hidden²");
  }
  const int64_t hidden = draft.built.job.model.hidden;
  if (s.deepspeed.prefetch_bucket_size < 0) {
    s.deepspeed.prefetch_bucket_size = checked_mul(9, checked_mul(hidden, hidden)) / 10;
    draft.from("prefetch_bucket_size", "auto: 0.9·hidden²");
  }
  if (s.deepspeed.param_persistence_threshold < 0) {
    s.deepspeed.param_persistence_threshold = checked_mul(10, hidden);
    draft.from("param_persistence_threshold", "auto: 10·hidden");
  }
  // engine.py _configure_basic_optimizer: Adam of a ds_config.json is FusedAdam, one kernel.
  const Given* optimizer = draft.find("--optimizer");
  const bool in_file = optimizer && optimizer->where != "--optimizer";
  const bool adam = s.optimizer == OptimizerKind::adam || s.optimizer == OptimizerKind::adamw;
  if (!in_file || !adam || draft.find("--optimizer-impl")) return;
  s.deepspeed.own_optimizer = true;
  s.optimizer_impl = OptimizerImpl::fused;
  draft.from("optimizer_impl", "FusedAdam, of the configuration's optimizer");
  draft.assume("the configuration's optimizer is DeepSpeed's FusedAdam, which allocates nothing");
}

}  // namespace memplan
