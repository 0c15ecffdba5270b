#include "cost/lifecycle.h"

#include <fmt/format.h>

#include <algorithm>

#include "cost/eager.h"
#include "memplan/error.h"
#include "policy/pytorch.h"

namespace memplan {
namespace {

// A phase whose allocated bytes lie so much above or below those of a phase that is there.
class Phases {
 public:
  explicit Phases(RankPlan& rank) : rank_(rank), model_(rank.phases.front()) {}

  void add(const char* name, Bytes allocated, std::string at) {
    PhasePeak phase{name, allocated, allocated, model_.device, std::move(at)};
    phase.device = allocated + (model_.device - model_.reserved);
    added_.push_back(std::move(phase));
  }
  void finish() { rank_.phases.insert(rank_.phases.end(), added_.begin(), added_.end()); }

 private:
  RankPlan& rank_;
  PhasePeak model_;
  std::vector<PhasePeak> added_;
};

const PhasePeak& named(const RankPlan& rank, std::string_view phase) {
  return *std::ranges::find(rank.phases, phase, &PhasePeak::phase);
}

const PhasePeak& highest(const RankPlan& rank) {
  return *std::ranges::max_element(rank.phases, {}, &PhasePeak::allocated);
}

// A checkpoint is written from the tensors as they lie: torch.save and safetensors copy one after
// the other to the host. It is read into the model's weights, and the optimizer takes the tensors
// that were read (torch/optim/optimizer.py, load_state_dict) where a first step would have made
// them.
void add_eager(const Job& job, RankPlan& rank) {
  const EagerStep step = eager_step(job, Grain::blocks);
  const Bytes workspaces = named(rank, "forward").allocated - step.forward.bytes;
  const PhasePeak update = named(rank, "optimizer step"), steady = highest(rank);
  Phases phases(rank);
  phases.add("initialisation", step.resident - step.made_by_step, "states");
  const EagerPeak& most = step.forward.bytes > step.backward.bytes ? step.forward : step.backward;
  const Bytes first = most.bytes - step.made_by_step + workspaces;
  // FullyShardedDataParallel prefetches in forward from the second step on: the first is not told.
  const bool learns =
      job.strategy.framework == Framework::fsdp1 && job.strategy.fsdp.forward_prefetch;
  if (!learns && first > update.allocated)
    phases.add("first step", first, most.at);
  else if (!learns)
    phases.add("first step", update.allocated, update.at);
  try {
    const EagerPeak evaluation = eager_evaluation(job, Grain::blocks);
    phases.add("evaluation", evaluation.bytes + workspaces, evaluation.at);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::not_modelled) throw;
  }
  phases.add("checkpoint save", step.resident + step.left + workspaces, "states");
  phases.add("checkpoint load", step.resident, "states");
  phases.add("resume", steady.allocated, steady.at);
  phases.finish();
}

}  // namespace

void add_lifecycle(Plan& plan) {
  const Job& job = plan.job;
  const Strategy& s = job.strategy;
  if (!s.training || !pytorch::is_eager(s.framework)) return;
  const bool replicas = s.data_parallel == DataParallelKind::data_parallel && s.dp > 1;
  const bool updates_early = s.optimizer_in_backward || s.optimizer == OptimizerKind::lomo ||
                             s.optimizer == OptimizerKind::adalomo;
  if (replicas || updates_early) return;
  for (RankPlan& rank : plan.ranks) {
    add_eager(job, rank);
    const PhasePeak& top = highest(rank);
    if (top.allocated > rank.memory.allocated)
      plan.warnings.push_back(fmt::format("{} needs {}, more than a training step: {} allocated",
                                          top.phase, format_bytes(top.device),
                                          format_bytes(top.allocated)));
  }
}

}  // namespace memplan
