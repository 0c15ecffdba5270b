#include "policy/pytorch.h"

#include <utility>

#include "memplan/error.h"
#include "ops/aten/sdp_kernels.h"
#include "ops/optimizer.h"
#include "policy/deepspeed.h"
#include "policy/fsdp1.h"
#include "policy/fsdp2.h"
#include "policy/tensor_parallel.h"

namespace memplan::pytorch {
namespace {

// What each operator keeps for its backward is the same from 2.1.2 to 2.14.1 (the generated
// torch/csrc/autograd/generated/Functions.h), but the kernels of attention are not: flash attention
// 2 came with 2.2, the CPU's own with 2.4. litgpt's published peaks are of 2.1.
Version oldest_torch(const Job& job) {
  // The forwards of 4.30 have no such kernels; they were traced with 2.0.1.
  if (job.strategy.transformers < Version{4, 31, 0} &&
      job.strategy.attention == AttentionKind::unfused)
    return {2, 0, 0};
  if (job.backend == Backend::cpu) return {2, 4, 0};
  return job.strategy.framework == Framework::litgpt ? Version{2, 1, 0} : Version{2, 2, 0};
}

std::string version_text(Version v) {
  return std::to_string(v.major) + "." + std::to_string(v.minor) + "." + std::to_string(v.patch);
}

// What an update inside backward rules out.
void require_update_in_backward(const Strategy& s) {
  const std::string what = s.optimizer_in_backward
                               ? "--optimizer-in-backward"
                               : "--optimizer " + std::string(to_string(s.optimizer));
  if (s.optimizer_in_backward && updates_in_backward(s.optimizer))
    throw Error(
        ErrorKind::bad_input, what,
        "optimizer '" + std::string(to_string(s.optimizer)) + "' updates in backward by itself",
        "leave one of them away");
  if (s.dp > 1)
    throw Error(ErrorKind::not_modelled, what,
                "data parallelism would need its gradients after backward has spent them",
                "use --dp 1, or an optimizer that steps after backward");
  // A norm of all gradients needs them all, or, with LOMO, a backward of its own before.
  if (s.clip_gradients)
    throw Error(ErrorKind::not_modelled, what + " --clip",
                "the gradients' norm is not known when they are spent", "use --clip false");
  // LOMO steps in each of them; torchtune and transformers refuse it for torch's optimizers.
  if (s.optimizer_in_backward && s.micro_batches() > 1)
    throw Error(ErrorKind::bad_input, what,
                "gradients that are spent in each backward cannot be accumulated",
                "use a --global-batch of micro-batch · dp");
}

bool modular(const Strategy& s) {
  return s.data_parallel == DataParallelKind::data_parallel && s.dp > 1;
}

bool wrapped(const Strategy& s) {
  return s.data_parallel == DataParallelKind::ddp && s.dp > 1 && !fsdp::shards_parameters(s) &&
         !deepspeed::partitions(s);
}

constexpr std::string_view kCompiled =
    "torch.compile: the figures are those of eager execution, a bound from above; the lower end "
    "keeps of activations what matrix products and attention kernels read in backward";

void add_torchtune(const Job& job, std::vector<std::string>& out) {
  const Strategy& s = job.strategy;
  if (s.offload_activations)
    out.push_back("OffloadActivations with streams: copies to the host end as soon as it waits");
  if (s.compile) out.emplace_back(kCompiled);
}

void add_quantization(const Job& job, std::vector<std::string>& out) {
  const Strategy& s = job.strategy;
  std::string stored = "bitsandbytes 0.50 stores all linear layers but the head";
  if (job.model.moe.experts > 0)
    stored += ", not the experts, which transformers 5 keeps as parameters of three dimensions";
  out.push_back(stored);
  out.push_back(s.quantization.prepared
                    ? "prepare_model_for_kbit_training: all that is not quantized is fp32"
                    : "without prepare_model_for_kbit_training");
  if (s.quantization.kind == QuantKind::int8) {
    out.push_back("no column of the activations is an outlier (llm_int8_threshold)");
    if (s.recompute == Recompute::full)
      out.push_back(
          "each int8 layer keeps its input in spite of checkpointing (use_reentrant=False)");
  } else {
    out.push_back(
        "forward unpacks each 4-bit weight, as it does for more than some hundred tokens");
  }
}

}  // namespace

Bytes bucket_bytes(const Strategy& s, Bytes trained) { return wrapped(s) ? trained : Bytes(0); }

bool gradient_in_bucket(const Strategy& s) { return wrapped(s) && s.gradient_as_bucket_view; }

bool compiled_with_mask(const Strategy& s) {
  return s.compile && s.framework == Framework::huggingface && s.attention == AttentionKind::sdpa;
}

bool is_eager(Framework framework) {
  switch (framework) {
    case Framework::pytorch:
    case Framework::huggingface:
    case Framework::litgpt:
    case Framework::torchtune:
    case Framework::fsdp1:
    case Framework::fsdp2:
    case Framework::torchtitan:
    case Framework::deepspeed:
      return true;
    case Framework::textbook:
    case Framework::megatron:
      return false;
  }
  return false;
}

Bytes import_leftovers(const Job& job) {
  const Strategy& s = job.strategy;
  // Liger-Kernel imports peft itself, before anything is counted.
  const bool liger = s.loss == LossKind::liger || s.kernels == KernelKind::liger;
  const bool seen = job.backend == Backend::cpu && s.peft.kind != PeftKind::none && !liger &&
                    job.model.implementation == Implementation::transformers;
  return Bytes(seen ? 2 * size_of(DType::i64) : 0);
}

// 32 MiB for compute capability 9, 10 and 12, else 8 MiB and 128 KiB. Blackwell's is Ampere's in
// older releases: Megatron-LM's records on GB200 hold that much with torch 2.10 and 2.11.
Bytes cublas_workspace(const GpuSpec& gpu, Version torch) {
  constexpr Version kKnowsBlackwell{2, 12, 0};
  const int major = gpu.compute_major;
  if (major == 9 || ((major == 10 || major == 12) && torch >= kKnowsBlackwell))
    return Bytes(int64_t{4096} * 8 * 1024);
  return Bytes(int64_t{4096} * 1024 * 2 + int64_t{16} * 1024 * 8);
}

int compute_capability(const GpuSpec& gpu) {
  return gpu.compute_major > 0 ? gpu.compute_major * 10 + gpu.compute_minor : 80;
}

void require_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  const auto refuse = [](const std::string& where, const std::string& problem,
                         const std::string& hint) {
    throw Error(ErrorKind::not_modelled, where, problem, hint);
  };
  const std::string framework(to_string(s.framework));
  if (job.model.bare_parameters)
    throw Error(ErrorKind::bad_input, job.model.name,
                "is a bare size: what PyTorch keeps of it cannot be told",
                "give a config.json or a preset, or use --framework textbook");
  struct Degree {
    const char* option;
    int64_t value, least;
  };
  const bool cuts = tensor_parallel::cuts_layers(s);
  if (cuts) tensor_parallel::require_modelled(job);
  for (const Degree& d :
       {Degree{"--tp", cuts ? 1 : s.tp, 1}, Degree{"--pp", s.pp, 1}, Degree{"--cp", s.cp, 1},
        Degree{"--ep", s.ep, 1}, Degree{"--zero", s.zero, deepspeed::partitions(s) ? s.zero : 0}})
    if (d.value > d.least)
      refuse(d.option,
             "framework '" + framework + "' holds a whole model on each GPU: it does no " +
                 std::string(d.option).substr(2),
             "leave it away, or use --framework textbook");
  if (fsdp::flattens(s)) fsdp1::require_modelled(job);
  if (fsdp::cuts_each(s)) fsdp2::require_modelled(job);
  if (deepspeed::partitions(s)) deepspeed::require_modelled(job);
  if (!s.training)
    refuse("--forward-only", "a forward without training is not modelled in eager detail",
           "use --framework textbook");
  const bool offloads = s.offload.optimizer != Placement::gpu ||
                        s.offload.gradients != Placement::gpu ||
                        s.offload.parameters != Placement::gpu;
  if (offloads && !fsdp::shards_parameters(s))
    refuse("--offload", "framework '" + framework + "' offloads nothing by itself",
           "use --framework textbook");
  if (s.precision.master && !deepspeed::partitions(s))
    refuse("--precision " + s.precision.name,
           "framework '" + framework + "' keeps no master copy of 16-bit weights",
           "use --precision amp-bf16 (fp32 weights under autocast) or bf16");
  if (s.recompute == Recompute::selective && job.model.implementation != Implementation::torchtitan)
    refuse("--recompute selective", "framework '" + framework + "' checkpoints whole layers",
           "use --recompute full");
  if (s.activations != ActivationModel::korthikanti)
    refuse("--activations", "framework '" + framework + "' has no estimate: it counts tensors",
           "leave it away");
  if (updates_in_backward(s)) require_update_in_backward(s);
  const Version oldest = oldest_torch(job);
  if (s.torch < oldest)
    refuse(
        "--torch-version",
        "the attention kernels of torch before " + version_text(oldest) + " are not modelled",
        "use --torch-version " + version_text(oldest) + " or a later one, or --framework textbook");
  if (s.recompute_every > 1 && s.framework != Framework::torchtitan)
    throw Error(ErrorKind::bad_input, "--recompute-every", "belongs to torchtitan",
                "use --framework torchtitan, or leave it away");
  if (modular(s) && s.quantization.kind != QuantKind::none)
    refuse("--data-parallel data-parallel", "replicas of quantized weights are not modelled",
           "use --data-parallel ddp");
  for (const auto& [given, option] :
       {std::pair(s.packed, "--packed"), std::pair(s.offload_activations, "--offload-activations")})
    if (given && s.framework != Framework::torchtune)
      throw Error(ErrorKind::bad_input, option, "belongs to torchtune's recipes",
                  "use --framework torchtune, or leave it away");
  if (s.loss == LossKind::torchtitan_chunked && (modular(s) || updates_in_backward(s)))
    refuse("--loss torchtitan-chunked",
           "it runs a backward for each chunk, whose gradients are spent or added up at once",
           "use another loss");
  if (s.compile && s.quantization.kind != QuantKind::none)
    refuse("--compile", "torch.compile of bitsandbytes' operators is not modelled",
           "leave one of them away");
  if (s.compile && s.data_parallel == DataParallelKind::data_parallel && s.dp > 1)
    refuse("--compile", "torch.compile of DataParallel's replicas is not modelled",
           "use --data-parallel ddp");
  const bool liger = s.loss == LossKind::liger || s.kernels == KernelKind::liger;
  if (liger && (s.compile || modular(s)))
    refuse(s.compile ? "--compile" : "--data-parallel data-parallel",
           "Liger-Kernel's functions are not modelled there", "leave one of them away");
  if (s.loss == LossKind::unsloth && (s.compile || modular(s)))
    refuse(s.compile ? "--compile" : "--data-parallel data-parallel",
           "Unsloth's loss is not modelled there", "leave one of them away");
}

std::vector<std::string> not_modelled(const Job& job) {
  std::vector<std::string> out = job.model.not_modelled;
  out.push_back("the caching allocator's fragmentation: reserved is taken as allocated");
  out.push_back("the data loader's next batch, and memory of evaluation and checkpoint saving");
  if (job.strategy.attention == AttentionKind::sdpa &&
      aten::prefers_cudnn(job.strategy.torch, compute_capability(job.cluster.gpu)))
    out.push_back("what cuDNN's attention plans take beside the workspace of cudnn-frontend");
  if (job.strategy.compile)
    out.push_back(
        "which buffers Inductor fuses away and reuses, and what the min-cut partitioner makes "
        "again "
        "in backward");
  if (job.strategy.loss == LossKind::unsloth) {
    out.push_back(
        "Unsloth's kernels of norms, rotary embedding, MLPs and LoRA, and its checkpointing with "
        "offload: the model's forward is transformers'");
    out.push_back("fast_cross_entropy_loss, which Unsloth runs with UNSLOTH_RETURN_LOGITS=1");
  }
  if (fsdp::flattens(job.strategy))
    for (std::string& line : fsdp1::not_modelled(job)) out.push_back(std::move(line));
  if (fsdp::cuts_each(job.strategy))
    for (std::string& line : fsdp2::not_modelled(job)) out.push_back(std::move(line));
  if (deepspeed::partitions(job.strategy))
    for (std::string& line : deepspeed::not_modelled(job)) out.push_back(std::move(line));
  if (modular(job.strategy))
    out.push_back("when a replica's weights are dropped in backward: they are counted to its end");
  out.push_back("step time");
  return out;
}

std::vector<std::string> assumptions(const Job& job) {
  const Strategy& s = job.strategy;
  std::vector<std::string> out;
  if (job.model.implementation == Implementation::litgpt) {
    out.push_back("operators of torch " + version_text(s.torch) +
                  ", litgpt of October 2023, its adapters of January 2024");
    return out;
  }
  if (job.model.implementation == Implementation::torchtune) {
    out.push_back("operators of torch " + version_text(s.torch) +
                  ", torchtune 0.4 of November 2024");
    add_torchtune(job, out);
    return out;
  }
  if (job.model.implementation == Implementation::torchtitan) {
    out.push_back("operators of torch " + version_text(s.torch) + ", torchtitan " +
                  version_text(s.torchtitan));
    for (std::string& line : fsdp::flattens(s) ? fsdp1::assumptions(job) : fsdp2::assumptions(job))
      out.push_back(std::move(line));
    return out;
  }
  out.push_back("operators of torch " + version_text(s.torch) + " and transformers " +
                version_text(s.transformers));
  out.push_back(s.keep_outputs
                    ? "the training loop holds the model's outputs during backward"
                    : "the model's outputs are dropped before backward, as HuggingFace's "
                      "Trainer does");
  if (fsdp::shards_parameters(s))
    for (std::string& line : fsdp::flattens(s) ? fsdp1::assumptions(job) : fsdp2::assumptions(job))
      out.push_back(std::move(line));
  else if (deepspeed::partitions(s))
    for (std::string& line : deepspeed::assumptions(job)) out.push_back(std::move(line));
  else if (modular(s))
    out.push_back("DataParallel: the batch and all replicas' outputs are gathered on GPU 0");
  else if (s.dp > 1)
    out.push_back("DistributedDataParallel with its gradient buckets");
  if (tensor_parallel::cuts_layers(s))
    out.push_back(
        "parallelize_module: projections of attention and MLP cut by columns and rows, norms, "
        "embedding and head whole on every GPU");
  if (s.compile) out.emplace_back(kCompiled);
  if (s.loss == LossKind::unsloth)
    out.push_back(
        "unsloth_zoo 2026.10.9 without UNSLOTH_* settings; a chunk of logits is at most half of "
        "what the GPU had free at the first loss, without optimizer states");
  if (s.quantization.kind != QuantKind::none) add_quantization(job, out);
  return out;
}

}  // namespace memplan::pytorch
