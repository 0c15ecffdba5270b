#include "policy/megatron.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "memplan/error.h"
#include "ops/aten/session.h"
#include "policy/megatron_fp8.h"
#include "policy/megatron_fsdp.h"
#include "policy/pytorch.h"
#include "policy/routing.h"

namespace memplan::megatron {
namespace {

constexpr int64_t kBlock = 512;  // of the CUDA caching allocator

int64_t rounded(int64_t value, int64_t multiple) {
  return checked_mul(ceil_div(value, multiple), multiple);
}

Bytes block(int64_t elements, DType dtype) {
  return Bytes(rounded(checked_mul(elements, size_of(dtype)), kBlock));
}

int64_t sum(const BufferGroup& group) {
  int64_t out = 0;
  for (int64_t n : group.elements) out = checked_add(out, n);
  return out;
}

// Transformer Engine's FusedAdam keeps of an fp32 master weight the 16 bits that the bf16 weight
// lacks (core/optimizer/optimizer_config.py, store_param_remainders).
DType master_dtype(const Strategy& s) {
  const DType master = s.precision.master.value_or(DType::f32);
  const bool remainders = s.megatron.precision_aware_optimizer && master == DType::f32 &&
                          s.precision.weight == DType::bf16;
  return remainders ? DType::bf16 : master;
}

bool is_muon(const Strategy& s) { return s.optimizer == OptimizerKind::muon; }

// Under Muon validate_args puts the layer-wise one in its place (megatron/training/arguments.py),
// whose buffers are like those without, or laid out for it (training.py,
// wrap_model_chunks_with_ddp).
bool is_distributed(const Strategy& s) {
  return s.zero > 0 && (!is_muon(s) || has_muon_buffers(s));
}

struct Adder {
  StateMemory& out;
  void add(Holder holder, const char* label, Bytes bytes, const char* source) {
    if (bytes == Bytes(0)) return;
    for (LedgerLine& line : out.lines)
      if (line.label == label) {
        line.bytes += bytes;
        return total(holder) += bytes, void();
      }
    total(holder) += bytes;
    out.lines.push_back({holder, label, bytes, {}, source});
  }
  Bytes& total(Holder holder) {
    return holder == Holder::weights     ? out.weights
           : holder == Holder::gradients ? out.gradients
                                         : out.optimizer;
  }
};

// Float16OptimizerWithFloat16Params.
void add_masters(const Strategy& s, Bytes wide, Adder& to) {
  if (s.precision.weight == DType::f32) return;
  to.add(Holder::optimizer, "fp32 master weights", wide, "core/optimizer/optimizer.py");
  // Their gradients are copies where the buffer's are not fp32 (_copy_model_grads_to_main_grads).
  if (s.precision.gradient == DType::f32) return;
  to.add(Holder::optimizer, "gradients of the master weights", wide, "core/optimizer/optimizer.py");
  to.out.made_by_step += wide;
}

void add_group(const Strategy& s, const BufferGroup& group, StateMemory& out) {
  Adder to{out};
  const Precision& p = s.precision;
  const int64_t buffer = buffer_elements(s, group);
  Bytes weights, wide, fp32_gradients;
  const DType stored = group.stored.value_or(p.weight);
  const bool mixed = stored != DType::f32;
  for (int64_t n : group.elements) {
    weights += block(n, stored);
    wide += block(n, DType::f32);
  }
  if (is_distributed(s)) {
    to.add(Holder::weights, "parameter buffer", block(buffer, stored),
           "core/distributed/param_and_grad_buffer.py");
  } else {
    to.add(Holder::weights, "weights", weights, "core/tensor_parallel/layers.py");
  }
  if (!s.training) return;
  to.add(Holder::gradients, "gradient buffer", block(buffer, p.gradient),
         "core/distributed/param_and_grad_buffer.py");
  if (is_muon(s) && (group.laid_out > 0 || !is_distributed(s))) return;
  const int64_t moments = s.optimizer == OptimizerKind::sgd            ? 0
                          : s.optimizer == OptimizerKind::sgd_momentum ? 1
                                                                       : 2;
  if (is_distributed(s)) {
    const int64_t shard = ceil_div(buffer, group.ranks);
    if (mixed)
      to.add(Holder::optimizer, "master weights, sharded", block(shard, master_dtype(s)),
             "core/optimizer/distrib_optimizer.py");
    Bytes both = moments * block(shard, p.optimizer);
    if (s.megatron.precision_aware_optimizer)
      both = block(shard, p.optimizer) + block(shard, s.megatron.exp_avg_sq);
    to.add(Holder::optimizer, "moments, sharded", both, "core/optimizer/distrib_optimizer.py");
    to.out.made_by_step += both;
    return;
  }
  add_masters(s, wide, to);
  to.add(Holder::optimizer, "moments", moments * wide, "core/optimizer/__init__.py");
  out.made_by_step += moments * wide;
}

// One moment for Muon, two for Adam.
void add_muon(const Strategy& s, std::span<const OptimizerTensor> own, StateMemory& out) {
  Adder to{out};
  Bytes wide, momentum, moments;
  for (const OptimizerTensor& t : own) {
    const Bytes one = block(t.elements, DType::f32);
    wide += one;
    (t.muon() ? momentum : moments) += t.muon() ? one : 2 * one;
  }
  add_masters(s, wide, to);
  to.add(Holder::optimizer, "momentum of Muon", momentum,
         "emerging_optimizers/orthogonalized_optimizers/orthogonalized_optimizer.py");
  to.add(Holder::optimizer, "moments of Adam", moments, "core/optimizer/__init__.py");
  out.made_by_step += momentum + moments;
}

}  // namespace

// distributed_data_parallel.py: buckets of at least 40 million elements or a million a rank, where
// gradients are reduced while backward runs; else a single one.
int64_t bucket_size(const Strategy& s, int64_t ranks) {
  if (!s.megatron.overlap_grad_reduce) return 0;
  if (s.megatron.bucket_elements > 0) return s.megatron.bucket_elements;
  return std::max<int64_t>(40'000'000, checked_mul(1'000'000, ranks));
}

int64_t bucket_multiple(const Strategy& s, int64_t ranks) {
  const int64_t usual = std::lcm(ranks, int64_t{128});
  return s.megatron.pad_buckets ? std::lcm(usual, int64_t{1} << 16) : usual;
}

int64_t muon_bucket(const Strategy& s, int64_t stage, size_t chunk) {
  return stage == 0 && chunk == 0 ? bucket_size(s, muon_ranks(s, false)) : 0;
}

std::vector<BufferGroup> muon_buffers(const Strategy& s, std::span<const OptimizerTensor> tensors,
                                      int64_t stage) {
  constexpr size_t kEach = 3;
  int64_t chunks = 1;
  for (const OptimizerTensor& t : tensors) chunks = std::max(chunks, t.chunk + 1);
  std::vector<BufferGroup> out(kEach * static_cast<size_t>(chunks));
  for (const OptimizerTensor& t : tensors) {
    const size_t kind = !t.muon() ? 0 : t.expert ? 2 : 1;
    out[kEach * static_cast<size_t>(t.chunk) + kind].elements.push_back(t.elements);
  }
  for (size_t i = 0; i < out.size(); ++i) {
    BufferGroup& group = out[i];
    group.ranks = muon_ranks(s, i % kEach == 2);
    if (i % kEach > 0 && !group.elements.empty())
      group.laid_out = shard_layout(group.elements, group.ranks, muon_bucket(s, stage, i / kEach),
                                    bucket_multiple(s, group.ranks))
                           .elements;
  }
  return out;
}

int64_t buffer_elements(const Strategy& s, const BufferGroup& group) {
  if (!is_distributed(s)) return sum(group);
  if (group.laid_out > 0) return group.laid_out;
  constexpr int64_t kStart = 64;
  const int64_t bucket = bucket_size(s, group.ranks);
  const int64_t multiple = bucket_multiple(s, group.ranks);
  int64_t at = 0, bucket_start = 0;
  for (auto n = group.elements.rbegin(); n != group.elements.rend(); ++n) {
    at = checked_add(rounded(at, kStart), *n);
    if (bucket > 0 && at - bucket_start >= bucket) bucket_start = at = rounded(at, multiple);
  }
  return rounded(at, multiple);
}

Bytes weight_block(const Strategy& s, int64_t elements) {
  return block(elements, s.precision.weight);
}

StateMemory state_memory(const Job& job, std::span<const BufferGroup> groups,
                         std::span<const OptimizerTensor> own) {
  StateMemory out;
  for (const BufferGroup& group : groups)
    if (!group.elements.empty()) add_group(job.strategy, group, out);
  if (job.strategy.training && !own.empty()) add_muon(job.strategy, own, out);
  return out;
}

Bytes initialisation_peak(const Job& job, std::span<const BufferGroup> groups,
                          std::span<const OptimizerTensor> own) {
  const Strategy& s = job.strategy;
  const auto made = [&](const BufferGroup& group) {
    Bytes out;
    for (int64_t n : group.elements) out += block(n, group.stored.value_or(s.precision.weight));
    return out;
  };
  Bytes live;
  for (const BufferGroup& group : groups) live += made(group);
  const StateMemory owned = state_memory(job, {}, own);
  Bytes peak = live, masters = owned.optimizer - owned.made_by_step;
  for (const BufferGroup& group : groups) {
    const StateMemory states = state_memory(job, std::span(&group, 1));
    masters += states.optimizer - states.made_by_step;
    live += states.gradients;
    if (is_distributed(s)) live += states.weights;
    peak = std::max(peak, live);
    if (is_distributed(s)) live -= made(group);
  }
  return std::max(peak, live + masters);
}

std::vector<LedgerLine> workspaces(const Job& job) {
  std::vector<LedgerLine> out;
  const GpuSpec& gpu = job.cluster.gpu;
  if (!gpu.cuda) return out;
  const MegatronSpec& m = job.strategy.megatron;
  const Bytes cublas =
      job.strategy.cublas_workspace.value_or(pytorch::cublas_workspace(gpu, job.strategy.torch));
  out.push_back({Holder::buffers, "cuBLAS workspaces", 2 * cublas,
                 "forward's and backward's thread", "aten/src/ATen/cuda/CublasHandlePool.cpp"});
  constexpr int64_t kMiB = int64_t{1} << 20;
  constexpr const char* kGemm = "transformer_engine/pytorch/cpp_extensions/gemm.py";
  const Bytes engine(gpu.compute_major >= 9 ? 32 * kMiB + 1024 : 4 * kMiB);
  // A router's linear layer is Transformer Engine's whatever the layers' (moe_utils.py,
  // RouterGatingLinearFunction).
  const bool moe = job.model.moe.experts > 0;
  if (!m.local || moe)
    out.push_back({Holder::buffers, "Transformer Engine's GEMM workspace", engine, {}, kGemm});
  for (LedgerLine& line : overlap_workspaces(job, engine)) out.push_back(std::move(line));
  constexpr int64_t kStreams = 4;  // csrc: num_cublas_streams
  if (moe && m.grouped_gemm)
    out.push_back({Holder::buffers, "workspaces of grouped GEMMs", kStreams * engine,
                   "one for each of 4 streams", kGemm});
  return out;
}

namespace {

void require_adapters(const Job& job) {
  const Strategy& s = job.strategy;
  const auto refuse = [](std::string problem, const char* hint) {
    throw Error(ErrorKind::not_modelled, "--peft", std::move(problem), hint);
  };
  if (s.peft.kind == PeftKind::none) return;
  if (s.peft.kind != PeftKind::bridge_lora)
    refuse(std::string(to_string(s.peft.kind)) + " in Megatron-core is not modelled",
           "use bridge-lora, Megatron-Bridge's LoRA, or --framework textbook");
  if (s.megatron.local)
    refuse("adapters beside layers of the local spec are not modelled",
           "use --transformer-impl transformer_engine");
  if (job.model.head != ModelHead::causal_lm)
    refuse("adapters in T5Model are not modelled", "use --framework textbook");
  constexpr std::string_view kModules[] = {"linear_qkv", "linear_proj", "linear_fc1", "linear_fc2"};
  const bool moe = job.model.moe.experts > 0;
  for (const std::string& target : s.peft.targets) {
    if (std::ranges::find(kModules, target) == std::end(kModules))
      refuse("Megatron-Bridge's LoRA on " + target + " is not modelled",
             "linear_qkv, linear_proj, linear_fc1 and linear_fc2 are");
    if (moe && target.starts_with("linear_fc"))
      refuse("adapters on experts, which " + target + " names, are not modelled",
             "use targets=linear_qkv+linear_proj");
  }
}

}  // namespace

void require_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  const auto refuse = [](const char* where, std::string problem, const char* hint) {
    throw Error(ErrorKind::not_modelled, where, std::move(problem), hint);
  };
  if (job.model.bare_parameters)
    throw Error(ErrorKind::bad_input, job.model.name,
                "framework megatron needs a model's layers, not a bare size",
                "name a model, or use --framework textbook");
  const bool t5 = job.model.implementation == Implementation::megatron &&
                  job.model.head == ModelHead::seq2seq_lm;
  if (job.model.head != ModelHead::causal_lm && !t5)
    refuse("--framework", "Megatron-core's GPTModel is a causal language model",
           "use --framework textbook");
  if (t5 && s.recompute == Recompute::full)
    refuse("--recompute-granularity", "full recomputation of T5Model is not modelled",
           "use selective");
  if (t5 && s.cp > 1)
    refuse("--context-parallel-size", "context parallelism of T5Model is not modelled",
           "leave it away");
  if (s.megatron.mtp_layers > 0 && t5)
    refuse("--mtp-num-layers", "multi-token prediction of T5Model is not modelled",
           "leave it away");
  if (s.megatron.mtp_layers > 0 && s.pp > 1 && job.model.tie_embeddings)
    refuse("--mtp-num-layers",
           "multi-token prediction with an output layer tied to another stage's embedding is not "
           "modelled",
           "use --untie-embeddings-and-output-weights");
  if (s.offload.optimizer != Placement::gpu || s.offload.parameters != Placement::gpu ||
      s.offload.gradients != Placement::gpu)
    refuse("--offload", "offload of Megatron-core is not modelled", "leave --offload away");
  if (s.megatron.dispatcher == MegatronSpec::Dispatcher::flex)
    refuse("--moe-token-dispatcher-type", "the flex dispatcher is not modelled",
           "use alltoall or allgather");
  if (s.cp > 1 && s.megatron.cp_communication == "a2a" &&
      (job.model.heads / s.tp % s.cp != 0 || job.model.kv_heads / s.tp % s.cp != 0))
    throw Error(ErrorKind::bad_input, "--cp-comm-type",
                fmt::format("a2a divides the heads of a rank, {} and {}, by cp {}",
                            job.model.heads / s.tp, job.model.kv_heads / s.tp, s.cp),
                "use p2p, or another --cp");
  if (s.megatron.distribute_saved_activations)
    refuse("--distribute-saved-activations",
           "inputs of recomputed layers divided over the tensor-parallel ranks are not modelled",
           "leave it away");
  if (s.megatron.local && std::ranges::count(s.megatron.recompute_modules, "layernorm") > 0)
    refuse("--recompute-modules", "recomputing layernorm in the local spec is not modelled",
           "use --transformer-impl transformer_engine");
  const std::string name(to_string(s.optimizer));
  const bool known = s.optimizer == OptimizerKind::adam || s.optimizer == OptimizerKind::adamw ||
                     s.optimizer == OptimizerKind::sgd ||
                     s.optimizer == OptimizerKind::sgd_momentum || is_muon(s);
  if (!known)
    refuse("--optimizer", name + " of Megatron-core is not modelled", "use --optimizer adam");
  require_fp8_modelled(job);
  if (is_muon(s)) require_muon(job);
  require_adapters(job);
  if (s.megatron.fsdp) require_fsdp_modelled(job);
  if (s.zero > 1 && !s.megatron.fsdp)
    refuse("--zero", fmt::format("Megatron-core has no ZeRO stage {}", s.zero),
           "its distributed optimizer is --zero 1");
  if (s.schedule != ScheduleKind::one_f1b)
    refuse("--schedule", "Megatron-core runs 1F1B", "leave --schedule away");
}

std::vector<std::string> not_modelled(const Job& job) {
  std::vector<std::string> out{"memory that checkpoints need"};
  if (job.strategy.pp > 1) out.push_back("pipeline messages that NCCL has not let go of");
  if (job.strategy.cp > 1)
    out.push_back("what context parallelism holds of other ranks' keys and values");
  if (job.strategy.megatron.fp8)
    out.push_back("messages that travel in fp8: they are counted as 16-bit ones");
  if (job.strategy.megatron.shared_expert_overlap)
    out.push_back("shared experts that run beside the routed ones");
  return out;
}

std::vector<std::string> assumptions(const Job& job) {
  const Strategy& s = job.strategy;
  const MegatronSpec& m = s.megatron;
  std::vector<std::string> out;
  const int64_t vocab = padded_vocabulary(job);
  if (vocab != job.model.vocab)
    out.push_back(fmt::format("the vocabulary is padded from {} to {}", job.model.vocab, vocab));
  if (job.model.moe.experts > 0) out.push_back(routing_text(job.strategy));
  if (m.tp_overlap)
    out.push_back("Userbuffers as Transformer Engine configures them where no file does");
  if (!m.local && m.attention == MegatronSpec::Attention::automatic)
    out.push_back("attention by the backend that Transformer Engine prefers on this GPU");
  return out;
}

int64_t padded_vocabulary(const Job& job) {
  const int64_t multiple = checked_mul(job.strategy.megatron.vocab_multiple, job.strategy.tp);
  return checked_mul(ceil_div(job.model.vocab, multiple), multiple);
}

}  // namespace memplan::megatron
