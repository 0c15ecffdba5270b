// Can this strategy be run at all? Each rule names the option at fault and the nearest value that
// would do.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "memplan/error.h"
#include "memplan/job.h"

namespace memplan {
namespace {

[[noreturn]] void impossible(const char* option, const std::string& problem,
                             const std::string& hint) {
  throw Error(ErrorKind::bad_input, option, problem, hint);
}

void require_divides(int64_t parts, int64_t whole, const char* option, const char* what) {
  if (parts > 0 && whole % parts == 0) return;
  impossible(option, fmt::format("{} does not divide the model's {} {}", parts, whole, what),
             fmt::format("nearest that does: {}", nearest_divisor(whole, parts)));
}

void check_counts(const Strategy& s) {
  const std::pair<int64_t, const char*> counts[] = {{s.dp, "--dp"},
                                                    {s.tp, "--tp"},
                                                    {s.pp, "--pp"},
                                                    {s.vpp, "--vpp"},
                                                    {s.cp, "--cp"},
                                                    {s.ep, "--ep"},
                                                    {s.micro_batch, "--micro-batch"},
                                                    {s.global_batch, "--global-batch"},
                                                    {s.sequence, "--seq"}};
  for (const auto& [value, option] : counts) require_count(value, option);
  constexpr int64_t kMostStages = 4096;  // each is worked out by itself
  if (s.pp > kMostStages)
    impossible("--pp", fmt::format("{} pipeline stages are too many", s.pp),
               fmt::format("give at most {}", kMostStages));
  if (s.zero < 0 || s.zero > 3)
    impossible("--zero", fmt::format("{} is no ZeRO stage", s.zero), "stages are 0, 1, 2 and 3");
}

void check_world(const Job& job) {
  const Strategy& s = job.strategy;
  require_count(job.cluster.gpus, "--gpus");
  require_count(job.cluster.gpus_per_node, "--gpus-per-node");
  const int64_t replica = product({s.tp, s.pp, s.cp});
  if (checked_mul(s.dp, replica) != job.cluster.gpus)
    impossible("--gpus",
               fmt::format("{} GPUs are not dp {} × tp {} × pp {} × cp {} = {}", job.cluster.gpus,
                           s.dp, s.tp, s.pp, s.cp, checked_mul(s.dp, replica)),
               fmt::format("tp × pp × cp must divide the GPUs; nearest: --gpus {}",
                           checked_mul(replica, std::max<int64_t>(1, job.cluster.gpus / replica))));
  if (s.ep > 1) {
    // Experts that fewer tensor-parallel ranks share leave more ranks to divide them over.
    const int64_t expert_tp = s.megatron.expert_tp > 0 ? s.megatron.expert_tp : s.tp;
    const int64_t data = product({s.dp, s.cp, s.tp}) / expert_tp;
    if (data % s.ep != 0)
      impossible("--ep",
                 expert_tp == s.tp
                     ? fmt::format("{} does not divide dp × cp = {}", s.ep, data)
                     : fmt::format("{} does not divide dp × cp × tp / expert tp = {}", s.ep, data),
                 fmt::format("nearest that does: {}", nearest_divisor(data, s.ep)));
  }
}

void check_batch(const Strategy& s) {
  const int64_t once = checked_mul(s.micro_batch, s.dp);
  if (s.global_batch % once != 0)
    impossible(
        "--global-batch",
        fmt::format("{} is no multiple of micro-batch {} × dp {}", s.global_batch, s.micro_batch,
                    s.dp),
        fmt::format("nearest that is: {}",
                    checked_mul(once, std::max<int64_t>(1, (s.global_batch + once / 2) / once))));
}

// Interleaving, as Megatron-core runs it (schedules.py,
// forward_backward_pipelining_with_interleaving).
void check_interleaving(const Strategy& s) {
  if (s.vpp == 1) return;
  if (s.pp == 1 || s.schedule != ScheduleKind::one_f1b)
    impossible("--vpp", "virtual stages belong to the 1f1b schedule with --pp above 1",
               "leave --vpp away");
  // Megatron-core's groups may end with a smaller one of at least pp micro-batches.
  const int64_t group = s.megatron.micro_batch_group > 0 ? s.megatron.micro_batch_group : s.pp;
  const int64_t rest = s.micro_batches() % group;
  if (group == s.pp ? rest != 0 : rest > 0 && rest < s.pp)
    impossible("--vpp",
               fmt::format("interleaving runs groups of {} micro-batches, and {} are none of them",
                           group, s.micro_batches()),
               fmt::format("nearest global batch: {}",
                           product({s.micro_batch, s.dp, s.pp,
                                    std::max<int64_t>(1, s.micro_batches() / s.pp)})));
}

void check_model_cuts(const Job& job) {
  const ModelSpec& m = job.model;
  const Strategy& s = job.strategy;
  if (m.bare_parameters) return;
  if (s.tp > 1) {
    require_divides(s.tp, m.heads, "--tp", "attention heads");
    if (m.mla.kv_lora_rank == 0 && m.kv_heads % s.tp != 0 && s.tp % m.kv_heads != 0)
      impossible("--tp",
                 fmt::format("{} and the model's {} key-value heads do not divide each other", s.tp,
                             m.kv_heads),
                 fmt::format("nearest that do: {}", nearest_divisor(m.kv_heads, s.tp)));
    if (m.ffn > 0) require_divides(s.tp, m.ffn, "--tp", "feed-forward columns");
  }
  if (s.cp > 1 && s.sequence % s.cp != 0)
    impossible("--cp", fmt::format("{} does not divide the sequence of {}", s.cp, s.sequence),
               fmt::format("nearest that does: {}", nearest_divisor(s.sequence, s.cp)));
  if (s.ep > 1) {
    if (m.moe.experts == 0) impossible("--ep", "the model has no experts", "use --ep 1");
    require_divides(s.ep, m.moe.experts, "--ep", "experts");
  }
  if (s.sequence_parallel) {
    if (s.tp == 1)
      impossible("--sequence-parallel",
                 "it divides the sequence over the tensor-parallel group, and tp is 1",
                 "give --tp, or leave it away");
    if ((s.sequence / s.cp) % s.tp != 0)
      impossible(
          "--sequence-parallel",
          fmt::format("tp {} does not divide the {} tokens of a rank", s.tp, s.sequence / s.cp),
          fmt::format("nearest --seq: {}",
                      product({std::max<int64_t>(1, s.sequence / (s.cp * s.tp)), s.cp, s.tp})));
  }
  const int64_t layers = m.layers + m.decoder_layers;
  if (s.trainable.kind == Trainable::Kind::last_layers &&
      (s.trainable.layers < 1 || s.trainable.layers > layers))
    impossible("--train", fmt::format("last {} of {} layers", s.trainable.layers, layers),
               fmt::format("give 1 to {}", layers));
}

void check_imbalance(const Job& job) {
  const Strategy& s = job.strategy;
  if (s.expert_imbalance == 1) return;
  constexpr const char* kOption = "--expert-imbalance";
  if (job.model.bare_parameters || job.model.moe.experts == 0)
    impossible(kOption, "the model has no experts", "leave it away");
  if (s.ep == 1)
    impossible(kOption, "every GPU holds all experts, so that all get the same number of rows",
               "leave it away, or give --ep");
  const double most = most_imbalance(job.model.moe, s.ep);
  if (!(s.expert_imbalance >= 1 && s.expert_imbalance <= most))
    impossible(
        kOption,
        fmt::format("{:g} is no ratio of the busiest rank's rows to the mean", s.expert_imbalance),
        fmt::format("give 1 to {:g}: a token goes to {} of {} experts, {} to a rank", most,
                    job.model.moe.experts_per_token, job.model.moe.experts,
                    job.model.moe.experts / s.ep));
}

void check_combinations(const Job& job) {
  const Strategy& s = job.strategy;
  if (s.data_parallel == DataParallelKind::data_parallel) {
    if (s.zero != 0 || std::max({s.tp, s.pp, s.cp, s.ep}) > 1)
      impossible("--data-parallel", "torch.nn.DataParallel knows no ZeRO, tp, pp, cp or ep",
                 "use --data-parallel ddp with them");
    if (job.cluster.gpus > job.cluster.gpus_per_node)
      impossible(
          "--data-parallel", "torch.nn.DataParallel is one process on one node",
          fmt::format("use at most {} GPUs, or --data-parallel ddp", job.cluster.gpus_per_node));
    if (job.model.bare_parameters)
      impossible("--data-parallel",
                 "what GPU 0 gathers depends on the model, and only its size is known",
                 "name a model");
  }
  if (s.zero > 0 && s.schedule == ScheduleKind::pipedream && s.pp > 1)
    throw Error(ErrorKind::not_modelled, "--zero",
                "ZeRO under PipeDream's weight stashing is not defined by either paper",
                "use --schedule 1f1b");
  if (s.offload.parameters != Placement::gpu && s.zero != 3 && s.framework != Framework::fsdp1 &&
      s.framework != Framework::fsdp2 && s.framework != Framework::torchtitan)
    impossible("--offload", "parameters are offloaded by ZeRO-Infinity alone", "add --zero 3");
  if (!s.training) {
    if (s.offload.optimizer != Placement::gpu || s.offload.gradients != Placement::gpu)
      impossible("--offload", "a forward-only job has no optimizer and no gradients",
                 "leave them away");
    if (s.schedule == ScheduleKind::pipedream && s.pp > 1)
      impossible("--schedule", "pipedream's weight versions belong to training",
                 "use --schedule 1f1b");
  }
  if (s.peft.merged && s.training)
    impossible("--peft", "merged LoRA matrices cannot be trained",
               "add --forward-only, or leave 'merged' away");
  if (s.peft.kind != PeftKind::none) {
    if (job.model.bare_parameters)
      impossible("--peft", "adapters sit beside layers, and only the model's size is known",
                 "name a model");
    if (s.trainable.kind != Trainable::Kind::all)
      impossible("--train", "--peft says already what is trained", "use one of them");
    if (s.peft.dropped_layers > job.model.layers)
      impossible("--peft",
                 fmt::format("adapters dropped from {} of {} layers", s.peft.dropped_layers,
                             job.model.layers),
                 fmt::format("give at most {}", job.model.layers));
  }
  if (job.model.bare_parameters && s.trainable.kind != Trainable::Kind::all)
    impossible("--train",
               "which parameters are trained depends on the model, and only its size is known",
               "name a model");
}

}  // namespace

int64_t busiest_rows(double expert_imbalance, int64_t mean) {
  if (expert_imbalance == 1) return mean;
  return static_cast<int64_t>(std::ceil(static_cast<double>(mean) * expert_imbalance));
}

double most_imbalance(const MoeSpec& moe, int64_t ep) {
  const int64_t local = moe.experts / ep;
  return static_cast<double>(checked_mul(ep, std::min(local, moe.experts_per_token))) /
         static_cast<double>(moe.experts_per_token);
}

std::vector<std::string> check(const Job& job) {
  check_counts(job.strategy);
  check_world(job);
  check_batch(job.strategy);
  check_interleaving(job.strategy);
  check_model_cuts(job);
  check_imbalance(job);
  check_combinations(job);

  std::vector<std::string> warnings;
  const Strategy& s = job.strategy;
  if (job.model.max_positions > 0 && s.sequence > job.model.max_positions)
    warnings.push_back(
        fmt::format("sequence {} is longer than the {} positions the model was made for",
                    s.sequence, job.model.max_positions));
  return warnings;
}

}  // namespace memplan
