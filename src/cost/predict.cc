// One job's answer: lower, fold, add up.
#include <fmt/format.h>

#include <algorithm>

#include "cost/device.h"
#include "cost/eager_rank.h"
#include "cost/megatron_rank.h"
#include "cost/process_groups.h"
#include "cost/sharding.h"
#include "cost/states.h"
#include "cost/traffic.h"
#include "cost/walk.h"
#include "memplan/error.h"
#include "memplan/fit.h"
#include "ops/optimizer.h"
#include "policy/megatron.h"
#include "policy/pytorch.h"
#include "policy/textbook.h"
#include "schedule/schedules.h"

namespace memplan {
namespace {

constexpr size_t kLargestShown = 8;

// What a framework refuses, takes for granted and leaves out.
struct Policy {
  void (*require_modelled)(const Job&);
  std::vector<std::string> (*assumptions)(const Job&);
  std::vector<std::string> (*not_modelled)(const Job&);
};
constexpr Policy kTextbook{textbook::require_modelled, textbook::assumptions,
                           textbook::not_modelled};
constexpr Policy kPyTorch{pytorch::require_modelled, pytorch::assumptions, pytorch::not_modelled};
constexpr Policy kMegatron{megatron::require_modelled, megatron::assumptions,
                           megatron::not_modelled};

PipelineShape shape_of(const Strategy& s) { return {s.pp, s.vpp, s.micro_batches()}; }

const ScheduleRow& schedule_of(const Strategy& s) { return schedule_row(s.schedule, s.vpp); }

HeldInFlight in_flight_of(const Strategy& s, int64_t stage) {
  if (!s.training) return {s.vpp, 1, 1};  // kept is nothing
  return schedule_of(s).in_flight(shape_of(s), stage);
}

GroupSummary sum(const FoldedProgram& folded, int64_t stage, ParamGroup group) {
  GroupSummary out;
  for (const Run& run : folded.program.stages[static_cast<size_t>(stage)].runs) {
    const BlockSummary& block = folded.summaries[static_cast<size_t>(run.block)];
    out += (group == ParamGroup::dense ? block.dense : block.expert) * run.count;
  }
  return out;
}

class Predictor {
 public:
  explicit Predictor(const Job& job) {
    plan_.job = job;
    plan_.warnings = check(job);
    eager_ = pytorch::is_eager(job.strategy.framework);
    megatron_ = job.strategy.framework == Framework::megatron;
    policy_ = eager_ ? kPyTorch : megatron_ ? kMegatron : kTextbook;
    policy_.require_modelled(job);
    plan_.assumptions = job.assumptions;
    for (std::string& line : policy_.assumptions(job)) plan_.assumptions.push_back(std::move(line));
    plan_.not_modelled = policy_.not_modelled(job);
    outside_ = outside_framework(job);
  }

  Plan run() {
    const Job& job = plan_.job;
    const Strategy& s = job.strategy;
    if (job.model.bare_parameters) {
      bare(*job.model.bare_parameters);
    } else {
      const bool module = s.data_parallel == DataParallelKind::data_parallel;
      folded_ = fold(job, module ? checked_mul(s.micro_batch, s.dp) : s.micro_batch);
      count_parameters_and_flops();
      if (!eager_ && !megatron_) tell_unfused_attention();
      if (eager_)
        plan_.ranks = eager_ranks(job, outside_);
      else if (megatron_)
        plan_.ranks = megatron_ranks(job, outside_);
      else if (module)
        data_parallel_ranks();
      else
        stage_ranks();
      plan_.communication = busiest_traffic(job, folded_);
      if (job.explain) plan_.sharding = sharding_rules(job, folded_.program);
    }
    if (job.explain) plan_.groups = process_groups(job);
    plan_.step.bubble_fraction = schedule_of(s).bubble(shape_of(s)).value();
    judge();
    warn_about_network();
    return std::move(plan_);
  }

 private:
  void count_parameters_and_flops() {
    const ParameterCounts count = count_parameters(folded_.program);
    plan_.parameters = count.total;
    plan_.trainable = count.trainable;
    double flops = 0, again = 0;
    for (const StageProgram& stage : folded_.program.stages)
      for (const Run& run : stage.runs) {
        const BlockSummary& block = folded_.summaries[static_cast<size_t>(run.block)];
        const double times = static_cast<double>(run.count);
        flops += times * (block.flops + block.flops_backward);
        again += times * block.flops_again;
      }
    // Of one rank's slice: all slices of a replica do as much, and all replicas.
    const Strategy& s = plan_.job.strategy;
    const double slices = static_cast<double>(s.tp * s.cp) * static_cast<double>(s.dp) *
                          static_cast<double>(s.micro_batches());
    plan_.step.flops = flops * slices;
    plan_.step.hardware_flops = (flops + again) * slices;
  }

  // Some models' scores carry a bias that no fused kernel takes; their operators stay unfused.
  void tell_unfused_attention() {
    if (plan_.job.strategy.attention == AttentionKind::unfused) return;
    for (const Block& block : folded_.program.blocks)
      for (const Op& op : block.graph.ops)
        if (op.kind == "attention_scores") {
          plan_.assumptions.push_back(
              "attention stays unfused: no flash kernel takes this model's position bias");
          return;
        }
  }

  int64_t weight_copies(int64_t stage) const {
    const Strategy& s = plan_.job.strategy;
    return s.training ? schedule_of(s).weight_versions(shape_of(s), stage) : 1;
  }

  // The ranks of one stage, empty.
  RankPlan rank_of(int64_t stage) const {
    const Strategy& s = plan_.job.strategy;
    RankPlan rank;
    rank.count = s.world() / s.pp;
    rank.rank = stage * rank.count;
    rank.pipeline_stage = stage;
    if (s.pp > 1) rank.role = fmt::format("stage {}", stage);
    return rank;
  }

  void stage_ranks() {
    const Strategy& s = plan_.job.strategy;
    for (int64_t stage = 0; stage < s.pp; ++stage) {
      RankPlan rank = rank_of(stage);
      const int64_t versions = weight_copies(stage);
      const RankStates states =
          rank_states(sum(folded_, stage, ParamGroup::dense),
                      sum(folded_, stage, ParamGroup::expert), versions, plan_.job);
      fill(rank, states, {}, walk(plan_.job, folded_, stage, in_flight_of(s, stage), true));
      rank.largest =
          largest_tensors(plan_.job, folded_, stage, in_flight_of(s, stage), true, kLargestShown);
      plan_.ranks.push_back(std::move(rank));
    }
  }

  // GPU 0 carries the optimizer, the gathered outputs and the loss of the whole batch; the others
  // a replica of the weights and its gradients (torch/nn/parallel/data_parallel.py).
  void data_parallel_ranks() {
    const Job& job = plan_.job;
    const Strategy& s = job.strategy;
    const GroupSummary dense = sum(folded_, 0, ParamGroup::dense);
    const GroupSummary expert = sum(folded_, 0, ParamGroup::expert);
    const HeldInFlight once;
    for (const bool first : {true, false}) {
      if (!first && s.dp == 1) break;
      RankPlan rank;
      rank.rank = first ? 0 : 1;
      rank.count = first ? 1 : s.dp - 1;
      rank.role = first ? "GPU 0 of DataParallel" : "replica of DataParallel";
      RankStates states = rank_states(dense, expert, 1, job);
      std::vector<LedgerLine> buffers;
      if (first) {
        const int64_t each = output_elements(job, folded_);
        const Bytes outputs(product({s.dp, each, size_of(s.precision.activation)}));
        buffers.push_back({Holder::buffers, "gathered outputs of all replicas", outputs,
                           fmt::format("{} replicas × {} elements × {} B", s.dp, each,
                                       size_of(s.precision.activation)),
                           "torch/nn/parallel/data_parallel.py"});
      } else {
        states.gpu.optimizer = Bytes(0);
        std::erase_if(states.lines,
                      [](const LedgerLine& line) { return line.holder == Holder::optimizer; });
      }
      fill(rank, states, buffers, walk(job, folded_, 0, once, first));
      rank.largest = largest_tensors(job, folded_, 0, once, first, kLargestShown);
      plan_.ranks.push_back(std::move(rank));
    }
  }

  void bare(int64_t parameters) {
    const Job& job = plan_.job;
    const Strategy& s = job.strategy;
    plan_.parameters = parameters;
    plan_.trainable = s.training ? parameters : 0;
    const int64_t slice = ceil_div(ceil_div(parameters, s.tp), s.pp);
    GroupSummary group{slice, s.training ? slice : 0, {}};
    // Moments depend on shapes for some optimizers; a bare size is taken as one long vector.
    if (s.training) {
      const int64_t shape[] = {slice};
      if (state_depends_on_shape(s.optimizer))
        throw Error(
            ErrorKind::not_modelled, "--optimizer " + std::string(to_string(s.optimizer)),
            "its states depend on the shapes of matrices, and only the model's size is known",
            "name a model, or use another optimizer");
      group.moments = optimizer_state(s.optimizer, shape, s.precision.optimizer);
    }
    for (int64_t stage = 0; stage < s.pp; ++stage) {
      RankPlan rank = rank_of(stage);
      const RankStates states = rank_states(group, {}, weight_copies(stage), job);
      fill(rank, states, {}, {{s.training ? "optimizer step" : "forward", "states", {}, {}, {}}});
      plan_.ranks.push_back(std::move(rank));
    }
    plan_.communication = bare_traffic(job, slice);
  }

  void fill(RankPlan& rank, const RankStates& states, const std::vector<LedgerLine>& buffers,
            const std::vector<Moment>& moments) {
    rank.states = states.gpu;
    rank.host = states.host;
    Bytes fixed = states.gpu.weights + states.gpu.gradients + states.gpu.optimizer;
    Bytes buffered;
    for (const LedgerLine& line : buffers) buffered += line.bytes;

    const Moment* highest = nullptr;
    for (const Moment& moment : moments) {
      PhasePeak peak;
      peak.phase = moment.phase;
      peak.at = moment.at;
      peak.allocated = fixed + moment.total();
      if (moment.phase != "optimizer step") peak.allocated += buffered;
      peak.reserved = peak.allocated;
      peak.device = peak.reserved + outside_.context + outside_.libraries + outside_.nccl;
      rank.phases.push_back(std::move(peak));
      if (highest == nullptr || moment.total() > highest->total()) highest = &moment;
    }

    RankMemory& memory = rank.memory;
    memory.weights = states.gpu.weights;
    memory.gradients = states.gpu.gradients;
    memory.optimizer = states.gpu.optimizer;
    memory.buffers = buffered;
    memory.activations = highest->activations;
    memory.transient = highest->transient;
    memory.allocated = fixed + buffered + highest->total();
    memory.reserved = memory.allocated;
    memory.context = outside_.context;
    memory.libraries = outside_.libraries;
    memory.nccl = outside_.nccl;
    memory.device = memory.reserved + memory.context + memory.libraries + memory.nccl;
    rank.peak_phase = highest->phase;
    rank.peak_operator = highest->at;
    rank.lines = states.lines;
    rank.lines.insert(rank.lines.end(), highest->lines.begin(), highest->lines.end());
    rank.lines.insert(rank.lines.end(), buffers.begin(), buffers.end());
    rank.outside = outside_.lines;
  }

  void judge() {
    const Job& job = plan_.job;
    Verdict& v = plan_.verdict;
    size_t worst = 0;
    for (size_t i = 1; i < plan_.ranks.size(); ++i)
      if (plan_.ranks[i].memory.device > plan_.ranks[worst].memory.device) worst = i;
    const RankMemory& memory = plan_.ranks[worst].memory;
    v.worst_rank = static_cast<int64_t>(worst);
    v.capacity = job.cluster.gpu.memory;
    v.expected = memory.device;
    v.low = memory.allocated + memory.context - plan_.ranks[worst].below;
    v.high =
        memory.device +
        Bytes(ceil_div(checked_mul(memory.allocated.count(), kLargestFragmentationPercent), 100));
    v.risk = v.expected > v.capacity ? Risk::does_not_fit
             : v.high > v.capacity   ? Risk::tight
                                     : Risk::fits;
    const bool known = !job.model.bare_parameters && job.cluster.gpu.cuda;
    if (v.risk == Risk::does_not_fit)
      v.fits = false;
    else if (known)
      v.fits = true;
    v.reason = reason(plan_.ranks[worst]);
    check_host();
  }

  static std::string reason(const RankPlan& rank) {
    const RankMemory& m = rank.memory;
    const std::pair<std::string_view, Bytes> parts[] = {{"weights", m.weights},
                                                        {"gradients", m.gradients},
                                                        {"optimizer states", m.optimizer},
                                                        {"activations", m.activations},
                                                        {"transients", m.transient},
                                                        {"buffers", m.buffers}};
    const auto* most =
        std::max_element(std::begin(parts), std::end(parts),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    return fmt::format("{} take most: {}", most->first, format_bytes(most->second));
  }

  void check_host() {
    const Cluster& cluster = plan_.job.cluster;
    Bytes most;
    for (const RankPlan& rank : plan_.ranks)
      most = std::max(most, rank.host.pinned + rank.host.pageable);
    const Bytes all = most * std::min(cluster.gpus, cluster.gpus_per_node);
    if (!cluster.host_memory || all <= *cluster.host_memory) return;
    plan_.verdict.fits = false;
    plan_.verdict.risk = Risk::does_not_fit;
    plan_.verdict.reason = fmt::format("host memory: a node holds {}, the job needs {}",
                                       format_bytes(*cluster.host_memory), format_bytes(all));
  }

  void warn_about_network() {
    Bytes sent;
    for (const Traffic& row : plan_.communication)
      if (row.group == "tensor_parallel" && row.crosses_nodes) sent += row.bytes_sent_per_gpu;
    if (sent == Bytes(0)) return;
    const Job& job = plan_.job;
    std::string text = fmt::format(
        "tensor parallelism of {} crosses nodes of {} GPUs: each GPU sends {} a step through a "
        "group that spans the network",
        job.strategy.tp, job.cluster.gpus_per_node, format_bytes(sent));
    if (job.cluster.network_bandwidth > 0 && job.cluster.gpu.nvlink_bandwidth > 0)
      text +=
          fmt::format(" ({:.0f} GB/s a node, against {:.0f} GB/s of NVLink a GPU)",
                      job.cluster.network_bandwidth / 1e9, job.cluster.gpu.nvlink_bandwidth / 1e9);
    plan_.warnings.push_back(
        text + fmt::format("; nearest within a node: --tp {}", job.cluster.gpus_per_node));
  }

  Plan plan_;
  FoldedProgram folded_;
  DeviceMemory outside_;
  bool eager_ = false, megatron_ = false;
  Policy policy_ = kTextbook;
};

}  // namespace

std::string_view to_string(Holder holder) {
  switch (holder) {
    case Holder::weights:
      return "weights";
    case Holder::gradients:
      return "gradients";
    case Holder::optimizer:
      return "optimizer";
    case Holder::activations:
      return "activations";
    case Holder::transient:
      return "transient";
    case Holder::buffers:
      return "buffers";
    case Holder::count_:
      break;
  }
  return "?";
}

std::string_view to_string(Risk risk) {
  switch (risk) {
    case Risk::fits:
      return "fits";
    case Risk::tight:
      return "tight";
    case Risk::does_not_fit:
      return "does not fit";
  }
  return "?";
}

Plan predict(const Job& job) { return Predictor(job).run(); }

}  // namespace memplan
