#include "cli/framework_settings.h"

#include <array>
#include <utility>

#include "cli/setting_values.h"
#include "input/version.h"

namespace memplan {
namespace {

using enum SettingGroup;
using namespace setting;

template <std::optional<DType> Fsdp::*Member>
void fsdp_dtype(Job& job, std::string_view text, std::string_view where) {
  const DType dtype = parse_dtype(text, where);
  if (size_of(dtype) < 2) bad(where, "fully_shard does not cast to fp8", "write bf16");
  job.strategy.fsdp.*Member = dtype;
}

template <Version Strategy::*Member>
void version(Job& job, std::string_view text, std::string_view where) {
  job.strategy.*Member = parse_version(text, where);
}

void clip(Job& job, std::string_view text, std::string_view where) {
  if (text != "true" && text != "false")
    bad(where, quoted(text) + " is neither true nor false", "write --clip true or --clip false");
  job.strategy.clip_gradients = text == "true";
}
void quantization(Job& job, std::string_view text, std::string_view where) {
  constexpr std::string_view kTwice = "-dq";
  Quantization& out = job.strategy.quantization;
  out.double_quant = text == "nf4-dq" || text == "fp4-dq";
  if (out.double_quant) text.remove_suffix(kTwice.size());
  out.kind = parse_name<QuantKind>(text, where);
}
void compute_dtype(Job& job, std::string_view text, std::string_view where) {
  const DType dtype = parse_dtype(text, where);
  if (dtype == DType::f8) bad(where, "bitsandbytes does not multiply in fp8", "write bf16");
  job.strategy.quantization.compute = dtype;
}
void prepare_kbit(Job& job, std::string_view text, std::string_view where) {
  job.strategy.quantization.prepared = parse_flag(text, where);
}
void quant_storage(Job& job, std::string_view text, std::string_view where) {
  const DType dtype = parse_dtype(text, where);
  if (dtype == DType::f8) bad(where, "bitsandbytes does not pack into fp8", "write bf16");
  job.strategy.quantization.storage = dtype;
}
template <Version MegatronSpec::*Member>
void megatron_version(Job& job, std::string_view text, std::string_view where) {
  job.strategy.megatron.*Member = parse_version(text, where);
}
void reshard_after_forward(Job& job, std::string_view text, std::string_view where) {
  Fsdp& fsdp = job.strategy.fsdp;
  if (text == "true" || text == "auto")
    fsdp.after_forward = std::nullopt;
  else
    fsdp.after_forward = text == "false" ? 1 : parse_count(text, where);
  fsdp.root_after_forward = text == "auto" ? 1 : fsdp.after_forward;
}
template <typename Enum, size_t N>
Enum word(std::string_view text, std::string_view where,
          const std::pair<std::string_view, Enum> (&words)[N]) {
  std::string known;
  for (const auto& [name, value] : words) {
    if (name == text) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  bad(where, quoted(text) + " is none of them", "write one of " + known);
}
void sharding_strategy(Job& job, std::string_view text, std::string_view where) {
  using enum Fsdp::Sharding;
  job.strategy.fsdp.sharding = word<Fsdp::Sharding>(
      text, where,
      {{"full-shard", full_shard}, {"shard-grad-op", shard_grad_op}, {"no-shard", no_shard}});
}
void backward_prefetch(Job& job, std::string_view text, std::string_view where) {
  using enum Fsdp::Prefetch;
  job.strategy.fsdp.backward_prefetch =
      word<Fsdp::Prefetch>(text, where, {{"pre", pre}, {"post", post}, {"none", none}});
}
void wrap_policy(Job& job, std::string_view text, std::string_view where) {
  using enum Fsdp::Wrap;
  job.strategy.fsdp.wrap =
      word<Fsdp::Wrap>(text, where, {{"layers", layers}, {"none", none}, {"size", size}});
}
template <bool Fsdp::*Member>
void fsdp_flag(Job& job, std::string_view text, std::string_view where) {
  job.strategy.fsdp.*Member = parse_flag(text, where);
}
void dp_replicate(Job& job, std::string_view text, std::string_view where) {
  job.strategy.fsdp.replicas = parse_count(text, where);
}
void gradient_sync(Job& job, std::string_view text, std::string_view where) {
  if (text != "each" && text != "last")
    bad(where, quoted(text) + " is no micro-batch", "write --gradient-sync each or last");
  job.strategy.fsdp.reduces_each = text == "each";
}
// accelerate and transformers make hidden² of a ds_config.json's "auto".
void reduce_bucket(Job& job, std::string_view text, std::string_view where) {
  job.strategy.deepspeed.reduce_bucket_size = text == "auto" ? 0 : parse_count(text, where);
}
template <int64_t DeepSpeed::*Member>
void deepspeed_size(Job& job, std::string_view text, std::string_view where) {
  job.strategy.deepspeed.*Member = text == "0" ? 0 : parse_count(text, where);
}
// -1: "auto", which needs the model's hidden size.
template <int64_t DeepSpeed::*Member>
void automatic_size(Job& job, std::string_view text, std::string_view where) {
  if (text == "auto")
    job.strategy.deepspeed.*Member = -1;
  else
    deepspeed_size<Member>(job, text, where);
}
void overlap_comm(Job& job, std::string_view text, std::string_view where) {
  job.strategy.deepspeed.overlap_comm = parse_flag(text, where);
}
template <bool DeepSpeed::*Member>
void deepspeed_flag(Job& job, std::string_view text, std::string_view where) {
  job.strategy.deepspeed.*Member = parse_flag(text, where);
}
void bucket_size(Job& job, std::string_view text, std::string_view where) {
  const Bytes size = parse_bytes(text, where);
  if (size < Bytes(1)) bad(where, "a bucket holds something", "PyTorch's own is 25MiB");
  job.strategy.bucket_bytes = size.count();
}

constexpr auto kRows = std::to_array<SettingRow>({
    {"--optimizer-impl", "NAME", "auto, foreach, fused, forloop (auto)", eager, true,
     choice<OptimizerImpl, &Strategy::optimizer_impl>},
    {"--optimizer-in-backward", "", "an optimizer a parameter, stepped as its gradient is made",
     eager, false, flag<&Strategy::optimizer_in_backward>},
    {"--galore-rank", "N", "of --optimizer galore (128)", eager, true,
     count<&Strategy::galore_rank>},
    {"--clip", "BOOL", "clip_grad_norm_ before the step (huggingface true, pytorch false)", eager,
     true, clip},
    {"--padding-mask", "", "batches are padded, with a mask that says so", eager, false,
     flag<&Strategy::padding_mask>},
    {"--loss", "NAME",
     "cross-entropy, liger, torchtune-linear, …: `memplan show losses` (cross-entropy)", eager,
     true, choice<LossKind, &Strategy::loss>},
    {"--loss-chunks", "N", "of torchtune's and torchtitan's losses (8)", eager, true,
     count<&Strategy::loss_chunks>},
    {"--kernels", "NAME", "of norms, rotary embedding, gated MLPs: eager, liger (eager)", eager,
     true, choice<KernelKind, &Strategy::kernels>},
    {"--keep-outputs", "", "the training loop holds the model's outputs during backward", eager,
     false, flag<&Strategy::keep_outputs>},
    {"--quantization", "NAME", "of frozen weights: none, nf4, nf4-dq, fp4, fp4-dq, int8 (none)",
     eager, true, quantization},
    {"--compute-dtype", "DTYPE", "of products with 4-bit weights (the job's 16-bit type)", eager,
     true, compute_dtype},
    {"--prepare-kbit", "BOOL", "prepare_model_for_kbit_training: fp32 where not quantized (true)",
     eager, true, prepare_kbit},
    {"--packed", "", "torchtune: samples packed into whole sequences, told apart by a mask", eager,
     false, flag<&Strategy::packed>},
    {"--offload-activations", "", "torchtune: what backward needs waits in host memory", eager,
     false, flag<&Strategy::offload_activations>},
    {"--compile", "", "torch.compile", eager, false, flag<&Strategy::compile>},
    {"--bucket-view", "", "DDP's gradient_as_bucket_view", eager, false,
     flag<&Strategy::gradient_as_bucket_view>},
    {"--bucket-size", "SIZE", "DDP's bucket_cap_mb (25MiB)", eager, true, bucket_size},
    {"--param-dtype", "DTYPE", "of gathered parameters (the 16-bit type of a mixed precision)",
     fsdp, true, fsdp_dtype<&Fsdp::param_dtype>},
    {"--reduce-dtype", "DTYPE", "of reduced gradients (the same)", fsdp, true,
     fsdp_dtype<&Fsdp::reduce_dtype>},
    {"--reshard-after-forward", "WHAT", "true, false, over N GPUs, or auto: layers alone (true)",
     fsdp, true, reshard_after_forward},
    {"--quant-storage", "DTYPE",
     "as which 4-bit weights are packed, and then sharded (uint8: whole)", fsdp, true,
     quant_storage},
    {"--dp-replicate", "N", "HSDP: copies of the sharded model, each over dp/N GPUs (1)", fsdp,
     true, dp_replicate},
    {"--gradient-sync", "WHEN", "gradients are reduced with each micro-batch or the last (each)",
     fsdp, true, gradient_sync},
    {"--sharding-strategy", "WHAT", "fsdp1: full-shard, shard-grad-op or no-shard (full-shard)",
     fsdp, true, sharding_strategy},
    {"--backward-prefetch", "WHEN", "fsdp1: pre, post or none (pre)", fsdp, true,
     backward_prefetch},
    {"--forward-prefetch", "", "fsdp1: a layer's forward gathers the next layer", fsdp, false,
     fsdp_flag<&Fsdp::forward_prefetch>},
    {"--use-orig-params", "", "fsdp1: the optimizer steps the model's own parameters", fsdp, false,
     fsdp_flag<&Fsdp::use_orig_params>},
    {"--wrap-policy", "WHAT",
     "units of FSDP: layers; of fsdp1 alone: none, one of the model (layers)", fsdp, true,
     wrap_policy},
    {"--torch-version", "V", "facts differ by version (2.14.1)", eager, true,
     version<&Strategy::torch>},
    {"--transformers-version", "V", "the same (5.12.1)", eager, true,
     version<&Strategy::transformers>},
    {"--torchtitan-version", "V", "the same (0.2.2)", eager, true, version<&Strategy::torchtitan>},
    {"--recompute-every", "N", "torchtitan: of --recompute full, each N-th layer alone (1)", eager,
     true, count<&Strategy::recompute_every>},

    {"--reduce-bucket-size", "N",
     "elements of gradients reduced at once, or auto: hidden² (500000000)", deepspeed, true,
     reduce_bucket},
    {"--overlap-comm", "BOOL", "two such buckets (false)", deepspeed, true, overlap_comm},
    {"--contiguous-gradients", "BOOL", "gradients are copied into them (true)", deepspeed, true,
     deepspeed_flag<&DeepSpeed::contiguous_gradients>},
    {"--round-robin-gradients", "BOOL", "neighbours belong to different ranks (false)", deepspeed,
     true, deepspeed_flag<&DeepSpeed::round_robin_gradients>},
    {"--sub-group-size", "N", "ZeRO-3: elements that are stepped at once (1000000000)", deepspeed,
     true, deepspeed_size<&DeepSpeed::sub_group_size>},
    {"--prefetch-bucket-size", "N",
     "ZeRO-3: elements gathered ahead, or auto: 0.9·hidden² (50000000)", deepspeed, true,
     automatic_size<&DeepSpeed::prefetch_bucket_size>},
    {"--param-persistence-threshold", "N",
     "ZeRO-3: parameters up to it stay gathered, or auto: 10·hidden (100000)", deepspeed, true,
     automatic_size<&DeepSpeed::param_persistence_threshold>},
    {"--model-persistence-threshold", "N", "ZeRO-3: elements of all of those (no limit)", deepspeed,
     true, deepspeed_size<&DeepSpeed::model_persistence_threshold>},
    {"--max-live-parameters", "N", "ZeRO-3: elements gathered at once (1000000000)", deepspeed,
     true, deepspeed_size<&DeepSpeed::max_live_parameters>},
    {"--max-reuse-distance", "N",
     "ZeRO-3: what is used again within so many elements stays gathered (1000000000)", deepspeed,
     true, deepspeed_size<&DeepSpeed::max_reuse_distance>},
    {"--gather-16bit-weights", "BOOL", "ZeRO-3: saving gathers the model on the host (false)",
     deepspeed, true, deepspeed_flag<&DeepSpeed::gather_16bit_weights_on_model_save>},

    {"--megatron-version", "V", "of megatron.core (0.18.0)", megatron, true,
     megatron_version<&MegatronSpec::core>},
    {"--te-version", "V", "of Transformer Engine (2.14.0)", megatron, true,
     megatron_version<&MegatronSpec::transformer_engine>},
});

}  // namespace

std::span<const SettingRow> framework_setting_rows() { return kRows; }

}  // namespace memplan
