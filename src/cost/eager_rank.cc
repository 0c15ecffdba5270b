#include "cost/eager_rank.h"

#include <algorithm>
#include <array>

#include "cost/eager.h"
#include "policy/pytorch.h"

namespace memplan {
namespace {

constexpr const char* kTape = "derivatives.yaml and the module's forward, operator by operator";

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
  m.buffers = workspaces + step.buckets + step.buffers + step.inputs;
  m.allocated = top.peak->bytes + workspaces;
  m.transient = m.allocated - m.weights - m.gradients - m.optimizer - m.activations - m.buffers;
  m.reserved = m.allocated;
  m.context = outside.context;
  m.libraries = outside.libraries;
  m.nccl = outside.nccl;
  m.device = m.reserved + beyond;
  rank.peak_phase = top.name;
  rank.peak_operator = top.peak->at;
  rank.outside = outside.lines;

  const auto line = [&](Holder holder, const char* label, Bytes bytes, const char* source) {
    if (bytes > Bytes(0)) rank.lines.push_back({holder, label, bytes, {}, source});
  };
  line(Holder::weights, "weights", m.weights, "the model's parameters");
  line(Holder::gradients, "gradients", m.gradients, kTape);
  line(Holder::optimizer, "optimizer states", m.optimizer, "the optimizer's own source");
  line(Holder::activations, "kept by autograd", m.activations, kTape);
  line(Holder::transient, "temporaries and gradients of activations", m.transient, kTape);
  line(Holder::buffers, "cuBLAS workspaces", workspaces,
       "aten/src/ATen/cuda/CublasHandlePool.cpp: forward's and backward's thread");
  line(Holder::buffers, "DDP buckets", step.buckets, "torch/csrc/distributed/c10d/reducer.cpp");
  line(Holder::buffers, "model buffers and the batch", step.buffers + step.inputs,
       "model.buffers(), input_ids");
  return rank;
}

}  // namespace

std::vector<RankPlan> eager_ranks(const Job& job, const DeviceMemory& outside) {
  const Strategy& s = job.strategy;
  if (s.data_parallel != DataParallelKind::data_parallel || s.dp == 1)
    return {rank_plan(job, outside, Replica::alone)};
  return {rank_plan(job, outside, Replica::first), rank_plan(job, outside, Replica::other)};
}

}  // namespace memplan
