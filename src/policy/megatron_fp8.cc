#include "policy/megatron_fp8.h"

#include <algorithm>
#include <string>

#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan::megatron {

bool fp8_transposes(const GpuSpec& gpu) { return gpu.compute_major < 10; }

int64_t fp8_copies(const Job& job) {
  const MegatronSpec& m = job.strategy.megatron;
  if (!m.fp8) return 0;
  const int64_t transposes = fp8_transposes(job.cluster.gpu) ? 1 : 0;
  return m.fp8_weights ? transposes : 1 + transposes;
}

Bytes fp8_scales(const Strategy& s) {
  if (!s.megatron.fp8_delayed) return Bytes(0);
  const auto block = [](int64_t numbers) {
    return Bytes(checked_mul(ceil_div(checked_mul(4, numbers), 512), 512));
  };
  constexpr int64_t kForward = 3, kBackward = 2;
  const int64_t history = s.megatron.fp8_history;
  return block(kForward) + block(checked_mul(kForward, history)) + block(kBackward) +
         block(checked_mul(kBackward, history));
}

Bytes registered_buffers(const Job& job) {
  const Strategy& s = job.strategy;
  if (!s.megatron.tp_overlap) return Bytes(0);
  // Of the default configuration eight gather (fp8 where the layers are), four scatter sums.
  constexpr int64_t kGathers = 8, kScatters = 4;
  const int64_t elements = product({s.micro_batch, s.sequence / s.cp, job.model.hidden});
  const int64_t width = size_of(s.precision.activation);
  return Bytes(checked_mul(elements, kGathers * (s.megatron.fp8 ? 1 : width) + kScatters * width));
}

std::vector<LedgerLine> overlap_workspaces(const Job& job, Bytes of_one) {
  constexpr int64_t kStreams = 3;  // _NUM_MAX_UB_STREAMS
  if (!job.strategy.megatron.tp_overlap) return {};
  return {{Holder::buffers, "workspaces of overlapped GEMMs", kStreams * of_one,
           "one for each of 3 streams", "transformer_engine/pytorch/cpp_extensions/gemm.py"}};
}

namespace {

void require_plain_layers(const Job& job, const char* option, const std::string& what) {
  const Strategy& s = job.strategy;
  const auto refuse = [&](const char* with) {
    throw Error(ErrorKind::not_modelled, option, what + " of " + with + " is not modelled",
                "leave it away");
  };
  if (job.model.head != ModelHead::causal_lm) refuse("T5Model");
  if (!job.model.hybrid_pattern.empty()) refuse("hybrid models");
  if (job.model.moe.experts > 0) refuse("mixtures of experts");
  if (job.model.mla.kv_lora_rank > 0) refuse("multi-head latent attention");
  if (s.megatron.mtp_layers > 0) refuse("multi-token prediction");
  if (s.peft.kind != PeftKind::none) refuse("adapters");
  if (s.megatron.local) refuse("--transformer-impl local");
}

}  // namespace

void require_fp8_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  const MegatronSpec& m = s.megatron;
  const auto refuse = [](const char* option, const char* problem, const char* hint,
                         ErrorKind kind = ErrorKind::not_modelled) {
    throw Error(kind, option, problem, hint);
  };
  if (m.tp_overlap) require_plain_layers(job, "--tp-comm-overlap", "overlap");
  if (m.tp_overlap && !s.sequence_parallel)
    refuse("--tp-comm-overlap", "needs sequence parallelism",
           "add --sequence-parallel and --tensor-model-parallel-size 2 or more",
           ErrorKind::bad_input);
  if (m.fp8_weights && !m.fp8)
    refuse("--fp8-param-gather", "needs fp8", "add --fp8-format hybrid", ErrorKind::bad_input);
  if (!m.fp8) return;
  require_plain_layers(job, "--fp8-format", "fp8");
  if (job.cluster.gpu.compute_major < 9 && !job.cluster.gpu.name.empty())
    refuse("--fp8-format", "this GPU's fp8 is not modelled: Hopper and Blackwell are",
           "leave it away");
  if (s.optimizer == OptimizerKind::muon)
    refuse("--optimizer", "muon with fp8 is not modelled", "use --optimizer adam");
  if (m.fsdp) refuse("--use-megatron-fsdp", "with fp8 is not modelled", "leave one away");
  if (m.fp8_weights && s.zero == 0)
    refuse("--fp8-param-gather", "needs the distributed optimizer",
           "add --use-distributed-optimizer", ErrorKind::bad_input);
  if (m.fp8_weights && m.precision_aware_optimizer)
    refuse("--fp8-param-gather", "with --use-precision-aware-optimizer is not modelled",
           "leave one away");
  if (s.recompute == Recompute::full)
    refuse("--recompute-granularity", "full recomputation of fp8 layers is not modelled",
           "use selective");
  if (std::ranges::any_of(m.recompute_modules,
                          [](const std::string& module) { return module != "core_attn"; }))
    refuse("--recompute-modules", "of fp8 layers core_attn alone is modelled", "name it alone");
}

}  // namespace memplan::megatron
