#include "cost/eager_rank.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cost/eager.h"
#include "cost/kept_tensors.h"
#include "policy/deepspeed.h"
#include "policy/fsdp.h"
#include "policy/pytorch.h"

namespace memplan {
namespace {

constexpr const char* kTape = "derivatives.yaml and the module's forward, operator by operator";

constexpr const char* kFullyShard = "torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py";
constexpr const char* kFlatParameter = "torch/distributed/fsdp/_flat_param.py";

// How the lines of sharded parameters come about.
void explain_shards(const Job& job, const EagerStep& step, std::vector<LedgerLine>& lines) {
  const Strategy& s = job.strategy;
  const bool flat = fsdp::flattens(s);
  const DType stored = s.precision.weight;
  const DType gathered = fsdp::compute_dtype(s, stored);
  const auto dtype = [](DType d) { return std::string(to_string(d)); };
  const std::pair<std::string_view, std::string> formulas[] = {
      {"weights, sharded",
       fmt::format("{} parameters in {}, {} cut over {} GPUs{}, rounded up", step.parameters,
                   dtype(stored), flat ? "each unit's flat one" : "each", fsdp::shards(s),
                   flat ? "" : " by rows")},
      {"unsharded parameters",
       fmt::format("of the layer that runs{} and those that stay whole, in {}",
                   flat ? ", of the one that is prefetched" : "", dtype(gathered))},
      {"all-gather buffers",
       flat ? fmt::format("the unit's shard in {}, until it is gathered", dtype(gathered))
            : fmt::format("all_gather_output in {}: of the layer that runs until the next is "
                          "copied out (forward), of the next one (backward)",
                          dtype(gathered))},
      {"reduce-scatter input",
       flat
           ? fmt::format("a unit's whole gradient in {}, padded",
                         dtype(s.fsdp.reduce_dtype.value_or(gathered)))
           : fmt::format("gradients of the layer before in {}, until the next reduction{}",
                         dtype(s.fsdp.reduce_dtype.value_or(gathered)),
                         s.fsdp.replicas > 1 ? "; what is all-reduced, until backward ends" : "")}};
  for (LedgerLine& line : lines)
    for (const auto& [label, formula] : formulas)
      if (line.label == label) line.formula = formula;
}

// Where a DeepSpeed engine's lines come from, what they are called, and how they come about.
struct EngineLines {
  const char *source, *weights, *gradients, *optimizer, *reducing;
  std::string how_weights, how_gradients, how_optimizer, how_reducing;
  std::string how_unsharded = {}, how_gathering = {};
};

EngineLines engine_lines(const Job& job, const EagerStep& step) {
  using deepspeed::Wrapper;
  const Strategy& s = job.strategy;
  const std::string dtype(to_string(deepspeed::bit16(s)));
  const bool two = s.deepspeed.overlap_comm.value_or(false);
  const std::string flat = fmt::format(
      "{} parameters in {}, those that are trained one behind the other", step.parameters, dtype);
  EngineLines out{"deepspeed/runtime/engine.py",
                  "weights",
                  "gradients",
                  "fp32 weights and optimizer states",
                  "flattened gradients",
                  fmt::format("{} parameters in {}", step.parameters, dtype),
                  fmt::format("of {} trained parameters in {}", step.trainable, dtype),
                  fmt::format("of {} trained parameters, whole on each GPU", step.trainable),
                  "500000000 elements at a time, with the last micro-batch"};
  switch (deepspeed::wrapper(s)) {
    case Wrapper::plain:
      out.optimizer = "optimizer states";
      break;
    case Wrapper::unfused:
      out.source = "deepspeed/runtime/fp16/unfused_optimizer.py";
      break;
    case Wrapper::fused:
      out.source = "deepspeed/runtime/fp16/fused_optimizer.py";
      out.weights = "weights, flat";
      out.how_weights = flat;
      break;
    case Wrapper::bf16:
      out.source = "deepspeed/runtime/bf16_optimizer.py";
      out.weights = "weights, flat";
      out.how_weights = fmt::format("{} and padded to 2·{} elements", flat, s.dp);
      out.gradients = "gradients, flat in fp32 and each";
      out.how_gradients =
          "flat, whole on each GPU, from step to step; each in bf16 until it is added";
      out.optimizer = "fp32 weights and optimizer states, partitioned";
      out.how_optimizer =
          fmt::format("of {} trained parameters over {} GPUs", step.trainable, s.dp);
      out.how_reducing = "the flat gradients in bf16, communication_data_type";
      break;
    case Wrapper::zero_3:
      out.source = "deepspeed/runtime/zero/stage3.py";
      out.weights = "weights, partitioned";
      out.how_weights = fmt::format("{} parameters in {}, each padded to a multiple of {} GPUs",
                                    step.parameters, dtype, s.dp);
      out.gradients = "gradients, partitioned";
      out.how_gradients =
          fmt::format("flat in {}, from step to step", to_string(s.precision.gradient));
      out.optimizer = "fp32 weights and optimizer states, partitioned";
      out.how_optimizer = fmt::format("of {} trained parameters over {} GPUs, sub_group_size {}",
                                      step.trainable, s.dp, s.deepspeed.sub_group_size);
      out.how_unsharded = fmt::format(
          "in {}: those of at most {} elements, those of the module that runs or is "
          "called within {} elements, and those prefetched alone",
          dtype, s.deepspeed.param_persistence_threshold, s.deepspeed.max_reuse_distance);
      out.how_gathering = fmt::format(
          "in {}: of at least {} elements that are prefetched together, until the "
          "last of them is used",
          dtype, s.deepspeed.prefetch_bucket_size);
      out.reducing = "reduce bucket";
      out.how_reducing = fmt::format(
          "reduce_bucket_size {} in {}, from step to step, and what is laid out of it "
          "for the ranks",
          s.deepspeed.reduce_bucket_size, dtype);
      break;
    case Wrapper::zero_1_and_2:
      out.source = "deepspeed/runtime/zero/stage_1_and_2.py";
      out.weights = "weights, flat";
      out.how_weights = fmt::format("{} and padded to 2·{} elements", flat, s.dp);
      out.gradients = "gradients, of the partition's parameters";
      out.how_gradients =
          fmt::format("in {}: stage {} keeps {}", dtype, s.zero,
                      s.zero == 2 ? "whole gradients of the parameters that its partition touches"
                                  : "all of them until the last micro-batch is reduced");
      out.optimizer = "fp32 weights and optimizer states, partitioned";
      out.how_optimizer =
          fmt::format("of {} trained parameters over {} GPUs", step.trainable, s.dp);
      out.reducing = "reduce buckets";
      out.how_reducing = fmt::format(
          "{}reduce_bucket_size {} in {}, from the first gradient to the end of "
          "backward, and what is flattened of it",
          two ? "overlap_comm: 2 · " : "", s.deepspeed.reduce_bucket_size, dtype);
  }
  return out;
}

void explain_engine(const EngineLines& engine, std::vector<LedgerLine>& lines) {
  const std::pair<std::string_view, const std::string*> formulas[] = {
      {engine.weights, &engine.how_weights},
      {engine.gradients, &engine.how_gradients},
      {engine.optimizer, &engine.how_optimizer},
      {engine.reducing, &engine.how_reducing},
      {"unsharded parameters", &engine.how_unsharded},
      {"all-gather buffers", &engine.how_gathering}};
  for (LedgerLine& line : lines)
    for (const auto& [label, formula] : formulas)
      if (line.label == label) line.formula = *formula;
}

struct PhaseRow {
  std::string_view name;
  const EagerPeak* peak;
};

// What torch.compile cannot do without: states, inputs, and what is read by kernels of their own.
// The optimizer's step is not compiled.
Bytes floor_of(const EagerStep& step) {
  const Bytes kept =
      step.weights + step.gradients + step.optimizer + step.buffers + step.inputs + step.operands;
  return std::max({kept, step.step.bytes, step.certain});
}

RankPlan rank_plan(const Job& job, const DeviceMemory& outside, Replica replica) {
  const EagerStep step = eager_step(job, Grain::blocks, Layers::folded, replica);
  // Forward and backward run on two threads: two cuBLAS handles, taken from the allocator.
  const Bytes workspaces = job.cluster.gpu.cuda
                               ? 2 * pytorch::cublas_workspace(job.cluster.gpu, job.strategy.torch)
                               : Bytes(0);
  const Bytes beyond = outside.context + outside.libraries + outside.nccl;

  RankPlan rank;
  rank.count = job.strategy.world();
  rank.states = {step.parameters, step.trainable, step.weights, step.gradients, step.optimizer};
  if (replica == Replica::first) {
    rank.count = 1;
    rank.role = "GPU 0 of DataParallel";
  } else if (replica == Replica::other) {
    rank.rank = 1;
    rank.count = job.strategy.dp - 1;
    rank.role = "replica of DataParallel";
  }
  const std::array<PhaseRow, 3> phases{
      {{"forward", &step.forward}, {"backward", &step.backward}, {"optimizer step", &step.step}}};
  for (const PhaseRow& row : phases) {
    const Bytes allocated = row.peak->bytes + workspaces;
    rank.phases.push_back(
        {std::string(row.name), allocated, allocated, allocated + beyond, row.peak->at});
  }
  const PhaseRow& top = *std::max_element(
      phases.begin(), phases.end(),
      [](const PhaseRow& a, const PhaseRow& b) { return a.peak->bytes < b.peak->bytes; });

  if (job.strategy.compile) rank.below = top.peak->bytes - floor_of(step);
  RankMemory& m = rank.memory;
  m.weights = step.weights;
  m.gradients = top.peak->gradients;
  m.optimizer = step.optimizer;
  m.activations = top.peak->kept;
  m.buffers = workspaces + step.buckets + step.buffers + step.inputs + top.peak->unsharded +
              top.peak->gathering + top.peak->reducing;
  m.allocated = top.peak->bytes + workspaces;
  m.transient = m.allocated - m.weights - m.gradients - m.optimizer - m.activations - m.buffers;
  m.reserved = m.allocated;
  m.context = outside.context;
  m.libraries = outside.libraries;
  m.nccl = outside.nccl;
  m.device = m.reserved + beyond;
  rank.host = step.host;
  rank.peak_phase = top.name;
  rank.peak_operator = top.peak->at;
  rank.outside = outside.lines;
  add_kept_tensors(rank.largest, step.kept, 1);
  sort_kept_tensors(rank.largest);

  const auto line = [&](Holder holder, const char* label, Bytes bytes, const char* source) {
    if (bytes > Bytes(0)) rank.lines.push_back({holder, label, bytes, {}, source});
  };
  const bool sharded = fsdp::shards_parameters(job.strategy);
  const char* source = fsdp::flattens(job.strategy) ? kFlatParameter : kFullyShard;
  const bool zero = deepspeed::partitions(job.strategy);
  const EngineLines engine = zero ? engine_lines(job, step) : EngineLines{};
  line(Holder::weights,
       sharded ? "weights, sharded"
       : zero  ? engine.weights
               : "weights",
       m.weights,
       sharded ? source
       : zero  ? engine.source
               : "the model's parameters");
  line(Holder::gradients,
       sharded ? "gradients, sharded and whole"
       : zero  ? engine.gradients
               : "gradients",
       m.gradients, zero ? engine.source : kTape);
  line(Holder::optimizer,
       sharded ? "optimizer states, sharded"
       : zero  ? engine.optimizer
               : "optimizer states",
       m.optimizer, zero ? engine.source : "the optimizer's own source");
  line(Holder::activations, "kept by autograd", m.activations, kTape);
  line(Holder::transient, "temporaries and gradients of activations", m.transient, kTape);
  line(Holder::buffers, "cuBLAS workspaces", workspaces,
       "aten/src/ATen/cuda/CublasHandlePool.cpp: forward's and backward's thread");
  line(Holder::buffers, "unsharded parameters", top.peak->unsharded, zero ? engine.source : source);
  line(Holder::buffers, "all-gather buffers", top.peak->gathering, zero ? engine.source : source);
  line(Holder::buffers, zero ? engine.reducing : "reduce-scatter input", top.peak->reducing,
       zero ? engine.source : source);
  line(Holder::buffers, "DDP buckets", step.buckets, "torch/csrc/distributed/c10d/reducer.cpp");
  line(Holder::buffers, "model buffers and the batch", step.buffers + step.inputs,
       "model.buffers(), input_ids");
  if (job.explain && sharded) explain_shards(job, step, rank.lines);
  if (job.explain && zero) explain_engine(engine, rank.lines);
  return rank;
}

// Shares of parameters are as large on every rank, padded; those of the optimizer's states are not.
std::vector<RankPlan> sharded_ranks(Job job, const DeviceMemory& outside) {
  std::vector<RankPlan> out{rank_plan(job, outside, Replica::alone)};
  const int64_t shards = fsdp::shards(job.strategy);
  if (shards == 1) return out;
  job.data_rank = shards - 1;
  RankPlan last = rank_plan(job, outside, Replica::alone);
  if (last.states.optimizer == out.front().states.optimizer && last.host == out.front().host)
    return out;
  out.front().role = "all but the last rank, at most";
  out.front().count = (shards - 1) * job.strategy.fsdp.replicas;
  last.role = "the last rank, whose shares are the smallest";
  last.rank = job.data_rank;
  last.count = job.strategy.fsdp.replicas;
  out.push_back(std::move(last));
  return out;
}

// Partitions are equally large, but not the parameters that they touch.
RankPlan partitioned_rank(Job job, const DeviceMemory& outside) {
  if (deepspeed::wrapper(job.strategy) == deepspeed::Wrapper::zero_1_and_2)
    job.data_rank = eager_step(job, Grain::blocks).worst_rank;
  RankPlan rank = rank_plan(job, outside, Replica::alone);
  if (job.strategy.dp > 1 && deepspeed::wrapper(job.strategy) == deepspeed::Wrapper::zero_1_and_2)
    rank.role = "the rank whose partition touches the most, which bounds all";
  return rank;
}

}  // namespace

std::vector<RankPlan> eager_ranks(const Job& job, const DeviceMemory& outside) {
  const Strategy& s = job.strategy;
  if (fsdp::shards_parameters(s)) return sharded_ranks(job, outside);
  if (deepspeed::partitions(s)) return {partitioned_rank(job, outside)};
  if (s.data_parallel != DataParallelKind::data_parallel || s.dp == 1)
    return {rank_plan(job, outside, Replica::alone)};
  return {rank_plan(job, outside, Replica::first), rank_plan(job, outside, Replica::other)};
}

}  // namespace memplan
