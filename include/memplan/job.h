// A job: a model, a strategy and the GPUs it runs on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "memplan/cluster.h"
#include "memplan/model.h"
#include "memplan/strategy.h"

namespace memplan {

/// Whose kernels run: some keep other tensors on the CPU than on CUDA.
enum class Backend : uint8_t { cuda, cpu };

struct Job {
  ModelSpec model;
  Strategy strategy;
  Cluster cluster;
  Backend backend = Backend::cuda;
  /// The step is traced with fake tensors: values cannot be looked at, so that a mask of ones
  /// counts as one that masks something.
  bool fake_tensors = false;
  /// Of a trace: whether it counts that FSDP2 frees unsharded parameters, which is no operator.
  bool resizes_seen = true;
  int64_t data_rank = 0;  ///< of the data-parallel group: whose shards are counted
  bool explain = false;   ///< fill formulas
  /// What was taken for granted while the job was put together; reports list it first.
  std::vector<std::string> assumptions;
  /// Options as they stand on the command line ("--dp"): suggestions are worded to be added there.
  std::vector<std::string> options;
};

/// Rows of the busiest expert-parallel rank, where the mean of all is `mean`: rounded up.
int64_t busiest_rows(double expert_imbalance, int64_t mean);
/// The largest imbalance there can be: a token goes to k different experts, of which a rank holds
/// experts / ep.
double most_imbalance(const MoeSpec& moe, int64_t ep);

/// Whose modules a framework trains.
Implementation implementation_of(Framework framework);
/// Whether transformers' Trainer runs the step, whose defaults hold then.
bool runs_in_trainer(Framework framework);

/// Checks that the strategy can be run at all: every count positive, head counts and layers
/// divisible, batch divisible, gpus = dp·tp·pp·cp. Returns warnings (a sequence longer than the
/// model was made for). Throws Error{bad_input} naming the option and the nearest possible value.
std::vector<std::string> check(const Job& job);

}  // namespace memplan
