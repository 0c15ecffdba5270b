#include "search/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "search/variation.h"

namespace memplan {
namespace {

// A change and what it costs. `apply` returns the option to give, or nothing where the change does
// not apply to this job.
struct Change {
  std::string_view why;
  std::function<std::string(Job&)> apply;
};

bool says(const Job& job, std::string_view option) {
  return std::ranges::find(job.options, option) != job.options.end();
}

// "8xdgx-a100", or where no such nodes are known "64xa100-80g".
std::string cluster_text(const Cluster& cluster) {
  for (const NodeSpec& node : node_presets())
    if (node.gpu == cluster.gpu.name && node.gpus == cluster.gpus_per_node &&
        cluster.gpus % node.gpus == 0 &&
        (!cluster.host_memory || node.host_memory >= *cluster.host_memory))
      return fmt::format("{}x{}", cluster.gpus / node.gpus, node.name);
  return fmt::format("{}x{}", cluster.gpus, cluster.gpu.name);
}

std::string set_zero(Job& job, int stage) {
  Strategy& s = job.strategy;
  const bool possible = s.training ? s.zero < stage : stage == 3 && s.zero < 3;
  if (s.dp * s.cp < 2 || !possible) return {};
  if (s.data_parallel == DataParallelKind::data_parallel) return {};
  s.zero = stage;
  std::string option = fmt::format("--zero {}", stage);
  // "--offload cpu" would take the parameters along under ZeRO-3.
  if (stage == 3 && says(job, "--offload") && s.offload.parameters == Placement::gpu)
    option += fmt::format(" --offload optimizer={},gradients={}", to_string(s.offload.optimizer),
                          to_string(s.offload.gradients));
  return option;
}

std::string set_recompute(Job& job, Recompute recompute) {
  Strategy& s = job.strategy;
  if (!s.training || s.recompute >= recompute || job.model.bare_parameters) return {};
  s.recompute = recompute;
  return fmt::format("--recompute {}", to_string(recompute));
}

std::string smaller_micro_batch(Job& job) {
  Strategy& s = job.strategy;
  if (s.micro_batch == 1 || job.model.bare_parameters) return {};
  const int64_t before = s.micro_batch;
  for (int64_t b = before / 2; b >= 1; b /= 2) {
    if (before % b != 0) continue;
    s.micro_batch = b;  // the same samples a step, in more micro-batches
    if (b == 1 || surely_fits(job)) return fmt::format("--micro-batch {}", b);
  }
  return {};
}

std::string more_tensor_parallel(Job& job) {
  Strategy& s = job.strategy;
  if (job.model.bare_parameters || s.data_parallel == DataParallelKind::data_parallel) return {};
  if (s.activations == ActivationModel::zero && s.training) return {};
  std::string found;
  for (int64_t tp = s.tp * 2; tp <= job.cluster.gpus_per_node && s.dp % 2 == 0; tp *= 2) {
    Job next = job;
    next.strategy.tp = tp;
    set_data_parallel(next, s.dp / 2);
    if (next.strategy.training && (next.strategy.sequence / next.strategy.cp) % tp == 0)
      next.strategy.sequence_parallel = true;
    if (!try_predict(next)) break;
    job = next;
    found =
        fmt::format("--tp {}{}", tp, next.strategy.sequence_parallel ? " --sequence-parallel" : "");
    if (surely_fits(job)) break;
  }
  return found;
}

std::string offload(Job& job) {
  Strategy& s = job.strategy;
  if (!s.training || s.offload.optimizer != Placement::gpu) return {};
  s.offload.optimizer = Placement::cpu;
  s.offload.gradients = Placement::cpu;
  return "--offload optimizer=cpu,gradients=cpu";
}

std::string more_gpus(Job& job) {
  const Strategy& s = job.strategy;
  // Only sharded states shrink with more data-parallel ranks.
  if (s.zero == 0 || s.data_parallel == DataParallelKind::data_parallel) return {};
  for (int64_t dp = s.dp * 2; dp <= s.dp * 64; dp *= 2) {
    Job next = job;
    set_data_parallel(next, dp);
    if (!surely_fits(next)) continue;
    job = next;
    if (says(job, "--cluster")) return "--cluster " + cluster_text(job.cluster);
    return fmt::format("--gpus {}", next.cluster.gpus);
  }
  return {};
}

std::string more_memory(Job& job) {
  const std::optional<Plan> plan = try_predict(job);
  if (!plan) return {};
  const int64_t gibibytes = ceil_div(plan->verdict.expected.count(), kGiB.count());
  job.cluster.gpu.memory = kGiB * gibibytes;
  return fmt::format("--gpu-memory {}GiB", gibibytes);
}

std::string bigger_gpu(Job& job) {
  if (says(job, "--gpu-memory")) return more_memory(job);  // it wins over another GPU's own
  const GpuSpec* best = nullptr;
  for (const GpuSpec& gpu : gpu_presets()) {
    if (!gpu.cuda || gpu.memory <= job.cluster.gpu.memory) continue;
    if (best != nullptr && gpu.memory >= best->memory) continue;
    Job next = job;
    next.cluster.gpu = gpu;
    if (surely_fits(next)) best = &gpu;
  }
  if (best == nullptr) return {};
  job.cluster.gpu = *best;
  if (says(job, "--cluster")) return "--cluster " + cluster_text(job.cluster);
  return "--gpu " + best->name;
}

// Cheapest first.
const std::vector<Change>& changes() {
  static const std::vector<Change> rows = {
      {"costs nothing: the kernel keeps no scores",
       [](Job& job) -> std::string {
         Strategy& s = job.strategy;
         if (!s.training || s.attention != AttentionKind::unfused || job.model.bare_parameters ||
             s.activations == ActivationModel::zero)
           return {};
         s.attention = AttentionKind::flash;
         return "--attention flash";
       }},
      {"costs nothing: one process a GPU, nothing gathered on GPU 0",
       [](Job& job) -> std::string {
         if (job.strategy.data_parallel == DataParallelKind::ddp) return {};
         job.strategy.data_parallel = DataParallelKind::ddp;
         return "--data-parallel ddp";
       }},
      {"costs nothing: same traffic as tensor parallelism alone",
       [](Job& job) -> std::string {
         Strategy& s = job.strategy;
         if (!s.training || s.tp == 1 || s.sequence_parallel || (s.sequence / s.cp) % s.tp != 0)
           return {};
         s.sequence_parallel = true;
         return "--sequence-parallel";
       }},
      {"same traffic as data parallelism", [](Job& job) { return set_zero(job, 1); }},
      {"same traffic as data parallelism", [](Job& job) { return set_zero(job, 2); }},
      {"computes the attention core again in backward",
       [](Job& job) { return set_recompute(job, Recompute::selective); }},
      {"less work at once: the same samples in more micro-batches", smaller_micro_batch},
      {"1.5 times the traffic of data parallelism", [](Job& job) { return set_zero(job, 3); }},
      {"computes each layer's forward again: about a third more work",
       [](Job& job) { return set_recompute(job, Recompute::full); }},
      {"all-reduces in every layer; fewer replicas", more_tensor_parallel},
      {"rounds the moments to 8 bits",
       [](Job& job) -> std::string {
         Strategy& s = job.strategy;
         if (!s.training ||
             (s.optimizer != OptimizerKind::adam && s.optimizer != OptimizerKind::adamw))
           return {};
         s.optimizer = OptimizerKind::adam8bit;
         return "--optimizer adam8bit";
       }},
      {"the optimizer step runs on the host, over PCIe", offload},
      {"trains low-rank matrices, not the model",
       [](Job& job) -> std::string {
         Strategy& s = job.strategy;
         if (!s.training || s.peft.kind != PeftKind::none || job.model.bare_parameters ||
             s.trainable.kind != Trainable::Kind::all)
           return {};
         s.peft.kind = PeftKind::lora;
         s.peft.targets = {"all-linear"};
         return "--peft lora:r=8,targets=all-linear";
       }},
      {"more hardware", more_gpus},
      {"other hardware", bigger_gpu},
  };
  return rows;
}

// What a change moves without naming it, where the command line or a default would hold it.
std::string named_along(const Job& before, const Job& after) {
  const Strategy &was = before.strategy, &is = after.strategy;
  std::string out;
  if (is.dp != was.dp && says(before, "--dp")) out += fmt::format(" --dp {}", is.dp);
  const bool moved = is.usual_global_batch() != was.usual_global_batch();
  const bool other = says(before, "--global-batch")
                         ? is.global_batch != was.global_batch
                         : moved && is.global_batch != is.usual_global_batch();
  if (other) out += fmt::format(" --global-batch {}", is.global_batch);
  return out;
}

constexpr size_t kMostSuggestions = 6;

std::string joined(const std::vector<std::string>& parts, const char* between) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : between) + part;
  return out;
}

}  // namespace

std::vector<Suggestion> suggest(const Job& job) {
  std::vector<Suggestion> found;
  for (const Change& change : changes()) {
    Job next = job;
    const std::string option = change.apply(next);
    if (option.empty()) continue;
    const std::optional<Plan> plan = try_predict(next);
    if (plan && plan->verdict.fits.value_or(false))
      found.push_back(
          {option + named_along(job, next), std::string(change.why), plan->verdict.expected});
    if (found.size() == kMostSuggestions) return found;
  }
  if (!found.empty()) return found;

  // No single change is enough: take them one after the other, cheapest first, each where it helps,
  // until the job fits; then drop those that turn out not to be needed.
  std::vector<const Change*> taken;
  const auto apply_all = [&](const std::vector<const Change*>& list,
                             std::vector<std::string>& options) {
    Job next = job;
    for (const Change* change : list)
      if (std::string option = change->apply(next); !option.empty())
        options.push_back(std::move(option));
    return next;
  };
  Job current = job;
  std::optional<Plan> now = try_predict(current);
  for (const Change& change : changes()) {
    Job next = current;
    if (change.apply(next).empty()) continue;
    std::optional<Plan> plan = try_predict(next);
    if (!plan || (now && plan->verdict.expected >= now->verdict.expected)) continue;
    taken.push_back(&change);
    current = std::move(next);
    now = std::move(plan);
    if (now->verdict.fits.value_or(false)) break;
  }
  if (!now || !now->verdict.fits.value_or(false)) return {};
  for (size_t i = 0; i < taken.size();) {
    std::vector<const Change*> without = taken;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
    std::vector<std::string> ignored;
    if (surely_fits(apply_all(without, ignored)))
      taken = std::move(without);
    else
      ++i;
  }
  std::vector<std::string> options, reasons;
  const Job last = apply_all(taken, options);
  for (const Change* change : taken) reasons.emplace_back(change->why);
  if (const std::optional<Plan> plan = try_predict(last))
    found.push_back({joined(options, " ") + named_along(job, last), joined(reasons, "; "),
                     plan->verdict.expected});
  return found;
}

}  // namespace memplan
