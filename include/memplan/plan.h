// The answer to one job: memory of every kind of rank, communication, verdict.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "memplan/job.h"
#include "memplan/units.h"

namespace memplan {

/// What holds a byte. The order is that of reports.
enum class Holder : uint8_t {
  weights,
  gradients,
  optimizer,    ///< moments and master weights
  activations,  ///< kept by autograd for backward
  transient,    ///< born and dead within one operator or layer
  buffers,      ///< persistent, of the framework
  count_,
};
std::string_view to_string(Holder holder);

/// One line of a rank's memory at its peak, with how it comes about.
struct LedgerLine {
  Holder holder{};
  std::string label;  ///< "weights, TP-sharded"
  Bytes bytes;
  std::string formula;  ///< symbols, then numbers; filled where Job::explain
  std::string source;   ///< paper and section, or file
};

struct PhasePeak {
  std::string phase;  ///< "forward", "backward", "optimizer step"
  Bytes allocated, reserved, device;
  std::string at;  ///< operator or layer of the peak
};

struct States {
  int64_t parameters = 0;  ///< elements this rank holds
  int64_t trainable = 0;
  Bytes weights, gradients, optimizer;  ///< held all the time on the GPU
};

struct HostMemory {
  Bytes pinned, pageable, nvme;  ///< caused by this rank
  friend bool operator==(const HostMemory&, const HostMemory&) = default;
};

struct RankMemory {
  Bytes weights, gradients, optimizer, activations, transient, buffers;
  Bytes allocated, reserved, context, libraries, nccl, device;
};

/// Ranks that are alike.
struct RankPlan {
  int64_t rank = 0;  ///< the first of them
  int64_t count = 1;
  int64_t pipeline_stage = 0;
  std::string role;  ///< "GPU 0 of DataParallel", "stage 3"; empty where all ranks are alike
  RankMemory memory;
  /// How far below `memory` the rank may stay, where that is a bound from above.
  Bytes below;
  std::string peak_phase, peak_operator;
  std::vector<PhasePeak> phases;
  HostMemory host;
  States states;
  std::vector<LedgerLine> lines;    ///< sum to memory.allocated
  std::vector<LedgerLine> outside;  ///< context, libraries, nccl: sum to device - reserved
  std::vector<LedgerLine> largest;  ///< largest tensors alive at the peak, by name
};

/// One kind of collective a GPU takes part in during one step.
struct Traffic {
  std::string group;         ///< "data_parallel", "tensor_parallel", …
  std::string collective;    ///< "all_reduce", "all_gather", "reduce_scatter", "send_receive", …
  std::string algorithm;     ///< "ring", "tree", "direct"
  std::string phase;         ///< "forward", "backward", "recompute", "optimizer step"
  std::string what;          ///< "activations of the MLP", "gradients", …
  int64_t ranks = 1;         ///< size of the group
  int64_t count = 0;         ///< per GPU and step (on the busiest stage)
  Bytes bytes;               ///< message size of one
  Bytes bytes_sent_per_gpu;  ///< of all `count`
  bool crosses_nodes = false;
};

/// A group that communicates, as rank 0 has it.
struct ProcessGroup {
  std::string name;     ///< "data_parallel"
  std::string axes;     ///< "cp 2 · dp 8": axes of the ranks' layout, from the inside out
  std::string members;  ///< "0, 4, 8, … 60"
  int64_t ranks = 1;
  bool crosses_nodes = false;
};

/// How one parameter, or the same one of each layer, is cut.
struct ShardingRule {
  std::string tensor;          ///< "model.layers.*.mlp.gate_proj.weight"
  std::vector<int64_t> shape;  ///< of the whole model
  std::vector<int64_t> local;  ///< on a GPU, the largest
  int64_t times = 1;
  std::string rule;   ///< "dim 0 over tp 8", "whole"
  std::string group;  ///< of the GPUs that hold the same part, and reduce its gradient
};

enum class Risk : uint8_t { fits, tight, does_not_fit };
std::string_view to_string(Risk risk);

struct Verdict {
  std::optional<bool> fits;  ///< unset: cannot be told (a bare size whose states fit)
  Risk risk = Risk::fits;
  Bytes capacity;
  Bytes low, expected, high;  ///< device bytes of the worst rank
  Bytes headroom() const { return capacity - expected; }
  int64_t worst_rank = 0;  ///< index into Plan::ranks
  std::string reason;      ///< why that rank, or what does not fit
};

struct StepCost {
  double flops = 0;            ///< model FLOPs of one step, all GPUs
  double hardware_flops = 0;   ///< with recomputation
  double bubble_fraction = 0;  ///< idle / step on the worst stage
};

struct Limits {
  std::optional<int64_t> micro_batch, sequence, gpus;  ///< unset: none found
  std::optional<double> expert_imbalance;              ///< the same, and where --ep is 1
};

/// A change that makes the job fit.
struct Suggestion {
  std::string change;  ///< "--recompute selective"
  std::string why;     ///< what it costs
  Bytes device;
};

struct Plan {
  Job job;
  int64_t parameters = 0;  ///< of the whole model, adapters included
  int64_t trainable = 0;
  std::vector<RankPlan> ranks;
  std::vector<Traffic> communication;
  std::vector<ProcessGroup> groups;    ///< filled where Job::explain
  std::vector<ShardingRule> sharding;  ///< the same
  StepCost step;
  Verdict verdict;
  Limits limits;
  std::vector<Suggestion> suggestions;
  std::vector<std::string> assumptions, not_modelled, warnings;
};

}  // namespace memplan
