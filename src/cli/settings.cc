#include "cli/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/text.h"
#include "input/peft_config.h"
#include "input/version.h"
#include "memplan/error.h"
#include "policy/fsdp.h"

namespace memplan {
namespace {

using enum SettingGroup;

[[noreturn]] void bad(std::string_view where, std::string problem, std::string hint) {
  throw Error(ErrorKind::bad_input, std::string(where), std::move(problem), std::move(hint));
}

template <int64_t Strategy::*Member>
void count(Job& job, std::string_view text, std::string_view where) {
  job.strategy.*Member = parse_count(text, where);
}

template <typename Enum, Enum Strategy::*Member>
void choice(Job& job, std::string_view text, std::string_view where) {
  job.strategy.*Member = parse_name<Enum>(text, where);
}

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

bool parse_flag(std::string_view text, std::string_view where) {
  if (text == "true") return true;
  if (text == "false") return false;
  bad(where, quoted(text) + " is neither true nor false", "give the option alone to switch it on");
}

template <bool Strategy::*Member>
void flag(Job& job, std::string_view text, std::string_view where) {
  job.strategy.*Member = parse_flag(text, where);
}

void cluster(Job& job, std::string_view text, std::string_view where) {
  job.cluster = parse_cluster(text, where);
}
void gpu(Job& job, std::string_view text, std::string_view where) {
  job.cluster.gpu = find_gpu(text, where);
}
void gpu_memory(Job& job, std::string_view text, std::string_view where) {
  const Bytes memory = parse_bytes(text, where);
  if (memory < kMiB)
    bad(where, quoted(text) + " is no memory of a GPU", "give a size with its unit, such as 24GiB");
  if (job.cluster.gpu.name.empty())
    job.cluster.gpu = custom_gpu(memory);
  else
    job.cluster.gpu.memory = memory;
}
void gpus(Job& job, std::string_view text, std::string_view where) {
  job.cluster.gpus = parse_count(text, where);
}
void gpus_per_node(Job& job, std::string_view text, std::string_view where) {
  job.cluster.gpus_per_node = parse_count(text, where);
}
void network(Job& job, std::string_view text, std::string_view where) {
  if (text.ends_with("/s")) text.remove_suffix(2);
  job.cluster.network_bandwidth = static_cast<double>(parse_bytes(text, where).count());
}
void host_memory(Job& job, std::string_view text, std::string_view where) {
  job.cluster.host_memory = parse_bytes(text, where);
}
void zero(Job& job, std::string_view text, std::string_view where) {
  const int64_t stage = parse_count(text, where, 0);
  if (stage > 3) bad(where, quoted(text) + " is no ZeRO stage", "stages are 0, 1, 2 and 3");
  job.strategy.zero = static_cast<int>(stage);
}
void forward_only(Job& job, std::string_view text, std::string_view where) {
  job.strategy.training = !parse_flag(text, where);
}

// The master copy exists where weights are stored in fewer bits than it has.
void drop_needless_master(Precision& precision) {
  if (precision.master && size_of(precision.weight) >= size_of(*precision.master))
    precision.master.reset();
}
void precision(Job& job, std::string_view text, std::string_view where) {
  job.strategy.precision = parse_precision(text, where);
}
void weight_dtype(Job& job, std::string_view text, std::string_view where) {
  job.strategy.precision.weight = parse_dtype(text, where);
  drop_needless_master(job.strategy.precision);
}
void grad_dtype(Job& job, std::string_view text, std::string_view where) {
  job.strategy.precision.gradient = parse_dtype(text, where);
}
void optimizer_dtype(Job& job, std::string_view text, std::string_view where) {
  job.strategy.precision.optimizer = parse_dtype(text, where);
}
void offload(Job& job, std::string_view text, std::string_view where) {
  const bool sharded = fsdp::shards_parameters(job.strategy);
  job.strategy.offload = parse_offload(text, where, sharded ? 3 : job.strategy.zero);
}
void peft(Job& job, std::string_view text, std::string_view where) {
  job.strategy.peft = parse_peft(text, where);
}
void train(Job& job, std::string_view text, std::string_view where) {
  Trainable& trainable = job.strategy.trainable;
  if (text == "all") {
    trainable = {};
  } else if (text == "bias") {
    trainable = {Trainable::Kind::bias, 0};
  } else if (text.starts_with("last:")) {
    trainable = {Trainable::Kind::last_layers, parse_count(text.substr(5), where)};
  } else {
    bad(where, quoted(text) + " is not a set of parameters",
        "write all, last:2 for the last two layers, or bias");
  }
}
void algorithm(Job& job, std::string_view text, std::string_view where) {
  if (text != "ring" && text != "tree")
    bad(where, quoted(text) + " is not an all-reduce algorithm", "valid: ring, tree");
  job.strategy.tree_collectives = text == "tree";
}

void expert_imbalance(Job& job, std::string_view text, std::string_view where) {
  double value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size())
    bad(where, quoted(text) + " is no number", "1.5 is half more than the mean");
  job.strategy.expert_imbalance = value;
}

// Counts once the replicas are known.
void accumulation(Job&, std::string_view text, std::string_view where) { parse_count(text, where); }

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
    {"--cluster", "8xNODE", "nodes of a kind: 8xdgx-h100, or 64xh100-80g", hardware, true, cluster},
    {"--gpu", "NAME", "kind of GPU: `memplan show gpus` lists them", hardware, true, gpu},
    {"--gpu-memory", "SIZE", "memory of the GPU, for one that is not listed: 24GiB", hardware, true,
     gpu_memory},
    {"--gpus", "N", "GPUs of the job (dp · tp · pp · cp)", hardware, true, gpus},
    {"--gpus-per-node", "N", "GPUs of one machine (8)", hardware, true, gpus_per_node},
    {"--network", "SIZE", "bytes a second of a node's network, one direction: 400GB", hardware,
     true, network},
    {"--host-memory", "SIZE", "memory of one machine, for offload", hardware, true, host_memory},

    {"--dp", "N", "data-parallel replicas (GPUs / (tp · pp · cp))", parallel, true,
     count<&Strategy::dp>},
    {"--tp", "N", "tensor parallelism (1)", parallel, true, count<&Strategy::tp>},
    {"--pp", "N", "pipeline stages (1)", parallel, true, count<&Strategy::pp>},
    {"--vpp", "N", "virtual stages of a pipeline rank: interleaved schedule (1)", parallel, true,
     count<&Strategy::vpp>},
    {"--cp", "N", "context parallelism: the sequence is cut (1)", parallel, true,
     count<&Strategy::cp>},
    {"--ep", "N", "expert parallelism, inside dp · cp (1)", parallel, true, count<&Strategy::ep>},
    {"--expert-imbalance", "F", "rows of the busiest ep rank over the mean of all (1)", parallel,
     true, expert_imbalance},
    {"--zero", "STAGE", "0 to 3: divide optimizer states, gradients, weights over dp (0)", parallel,
     true, zero},
    {"--data-parallel", "NAME", "ddp, or data-parallel for torch.nn.DataParallel (ddp)", parallel,
     true, choice<DataParallelKind, &Strategy::data_parallel>},
    {"--sequence-parallel", "", "divide what tp repeats over the sequence", parallel, false,
     flag<&Strategy::sequence_parallel>},
    {"--schedule", "NAME", "naive, gpipe, 1f1b, pipedream (1f1b)", parallel, true,
     choice<ScheduleKind, &Strategy::schedule>},
    {"--algorithm", "NAME", "all-reduce by ring or tree (ring)", parallel, true, algorithm},

    {"--micro-batch", "N", "samples of one forward on one replica (1)", batch, true,
     count<&Strategy::micro_batch>},
    {"--global-batch", "N", "samples of one optimizer step (micro-batch · dp · pp)", batch, true,
     count<&Strategy::global_batch>},
    {"--accumulation", "N", "micro-batches of one optimizer step, in place of --global-batch",
     batch, true, accumulation},
    {"--seq", "N", "tokens of a sample (the model's own, up to 4096)", batch, true,
     count<&Strategy::sequence>},

    {"--precision", "NAME",
     "fp32, bf16, fp16, mixed-bf16, mixed-fp16, amp-bf16, amp-fp16 (mixed-bf16)", memory, true,
     precision},
    {"--weight-dtype", "DTYPE", "refines --precision: fp32, bf16, fp16", memory, true,
     weight_dtype},
    {"--grad-dtype", "DTYPE", "the same for gradients", memory, true, grad_dtype},
    {"--optimizer-dtype", "DTYPE", "the same for the optimizer's moments", memory, true,
     optimizer_dtype},
    {"--recompute", "NAME", "none, selective, full (none)", memory, true,
     choice<Recompute, &Strategy::recompute>},
    {"--offload", "WHAT", "optimizer, cpu, nvme, or optimizer=cpu,gradients=cpu,parameters=nvme",
     memory, false, offload},

    {"--optimizer", "NAME", "adamw, sgd, lion, adam8bit, …: `memplan show optimizers` (adamw)",
     training, true, choice<OptimizerKind, &Strategy::optimizer>},
    {"--peft", "KIND", "lora:r=8,targets=q_proj+v_proj, houlsby:m=64, pfeiffer, …, or FILE",
     training, false, peft},
    {"--train", "WHAT", "all, last:K layers, or bias (all)", training, true, train},
    {"--forward-only", "", "no backward, no optimizer", training, false, forward_only},

    {"--framework", "NAME",
     "whose memory: textbook, pytorch, huggingface, litgpt, torchtune, fsdp1, fsdp2, deepspeed, "
     "megatron "
     "(textbook)",
     model, true, choice<Framework, &Strategy::framework>},
    {"--attention", "NAME", "unfused, flash, sdpa (unfused)", model, true,
     choice<AttentionKind, &Strategy::attention>},
    {"--activations", "NAME", "what a layer keeps: korthikanti, zero (korthikanti)", model, true,
     choice<ActivationModel, &Strategy::activations>},

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

// {what stands on the command line, what it replaces in a file}.
constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kReplaces{{
    {"--cluster", "--gpu"},
    {"--cluster", "--gpu-memory"},
    {"--cluster", "--gpus"},
    {"--cluster", "--gpus-per-node"},
    {"--cluster", "--network"},
    {"--cluster", "--host-memory"},
    {"--gpu", "--gpu-memory"},
    {"--gpu", "--cluster"},
    {"--gpu-memory", "--gpu"},
    {"--gpus", "--cluster"},
    {"--dp", "--gpus"},
    {"--global-batch", "--accumulation"},
    {"--accumulation", "--global-batch"},
    {"--precision", "--weight-dtype"},
    {"--precision", "--grad-dtype"},
    {"--precision", "--optimizer-dtype"},
}};

}  // namespace

std::span<const SettingRow> setting_rows() { return kRows; }

const SettingRow* find_setting(std::string_view option) {
  const auto* row = std::ranges::find(kRows, option, &SettingRow::option);
  return row == kRows.end() ? nullptr : row;
}

std::string key_of(std::string_view option) {
  std::string key(option.substr(2));
  std::ranges::replace(key, '-', '_');
  return key;
}

std::string option_of(std::string_view key) {
  std::string option = "--" + std::string(key);
  std::replace(option.begin() + 2, option.end(), '_', '-');
  return option;
}

std::vector<std::string_view> replaced_by(std::string_view option) {
  std::vector<std::string_view> out;
  for (const auto& [over, under] : kReplaces)
    if (over == option) out.push_back(under);
  return out;
}

int64_t parse_count(std::string_view text, std::string_view where, int64_t least) {
  const std::string hint =
      least == 0 ? "give a whole number from 0 up" : "give a whole number of at least 1";
  int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = end == text.data() + text.size() && end != text.data();
  const bool digits = std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  if (status == std::errc::result_out_of_range || (whole && digits && value > kMaxCount))
    bad(where, std::string(text) + " is too large", "at most " + format_count(kMaxCount));
  if (status != std::errc() || !whole)
    bad(where, text.empty() ? "the value is empty" : quoted(text) + " is not a whole number", hint);
  if (value < least) bad(where, std::string(text) + " is too small", hint);
  return value;
}

Offload parse_offload(std::string_view text, std::string_view where, int zero) {
  constexpr std::string_view kForms =
      "write optimizer, cpu, nvme, or optimizer=cpu,gradients=cpu,parameters=nvme";
  Offload out;
  if (text == "none" || text == "gpu") return out;
  if (text == "optimizer") text = "optimizer=cpu";
  if (text == "cpu" || text == "nvme") {
    out.optimizer = out.gradients = parse_name<Placement>(text, where);
    if (zero == 3) out.parameters = out.optimizer;
    return out;
  }
  std::vector<std::string_view> seen;
  for (const std::string_view part : split(text, ',')) {
    const size_t equals = part.find('=');
    if (equals == part.npos) bad(where, quoted(part) + " is no part=place", std::string(kForms));
    const std::string_view what = part.substr(0, equals);
    Placement* place = what == "optimizer"    ? &out.optimizer
                       : what == "gradients"  ? &out.gradients
                       : what == "parameters" ? &out.parameters
                                              : nullptr;
    if (place == nullptr)
      bad(where, "nothing is called " + quoted(what),
          name_hint(what, {"optimizer", "gradients", "parameters"}));
    if (std::ranges::find(seen, what) != seen.end())
      bad(where, quoted(what) + " is given twice", "give it once");
    seen.push_back(what);
    *place = parse_name<Placement>(part.substr(equals + 1), where);
  }
  return out;
}

}  // namespace memplan
