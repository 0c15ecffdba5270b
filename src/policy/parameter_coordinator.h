// Which parameters of ZeRO-3 are gathered and released around the modules of a step.
// Source: deepspeed/runtime/zero/partitioned_param_coordinator.py, 0.19.8.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "memplan/strategy.h"

namespace memplan::deepspeed {

/// Modules of a model with the parameters that each owns by itself, and how one forward and
/// backward calls them.
struct ModuleTrace {
  enum class Event : uint8_t { fetch, release, release_leftovers };
  struct Call {
    Event event;
    int module;
    bool forward;
  };
  std::vector<std::vector<int>> modules;  ///< indices of parameters, in the order of their ds_id
  std::vector<Call> calls;
};

/// What is done to parameters' memory.
class ParameterMemory {
 public:
  virtual ~ParameterMemory() = default;
  virtual void all_gather(std::span<const int> params) = 0;  ///< all_gather_coalesced
  virtual void wait(int param) = 0;                          ///< for what it is part of
  virtual void free(int param) = 0;
};

/// PartitionedParameterCoordinator. Without a trace it records one, and neither prefetches nor
/// keeps anything.
class ParameterCoordinator {
 public:
  /// `elements` of each parameter. `trace` and `memory` outlive it.
  ParameterCoordinator(const DeepSpeed& settings, std::vector<int64_t> elements,
                       const ModuleTrace* trace, ParameterMemory& memory);

  /// A module by the parameters it owns; modules get their numbers in the order of their first
  /// call.
  int add_module(std::vector<int> params);

  void reset_step();
  void fetch(int module, bool forward);
  void release(int module, bool forward);
  /// release_backward_leftovers
  void release_leftovers();
  /// One micro-batch as the trace has it, without what it computes.
  void replay();
  /// partition_all_parameters, which the optimizer's step begins with.
  void release_all();
  /// When a step of the optimizer ends, which has released everything.
  void gather_persistent();

  bool persists(int param) const { return state(param).persists; }
  bool available(int param) const { return state(param).status == Status::available; }
  const ModuleTrace& recorded() const { return recorded_; }

 private:
  enum class Status : uint8_t { partitioned, in_flight, available };
  struct State {
    int64_t elements = 0;
    Status status = Status::partitioned;
    bool persists = false;
    std::set<int> active;     ///< modules
    int64_t fetched_for = 0;  ///< most_recent_step_id_param_fetched_for
    std::vector<size_t> used_at;
  };
  struct Use {
    int param;
    int64_t step;
  };

  State& state(int param) { return states_[static_cast<size_t>(param)]; }
  const State& state(int param) const { return states_[static_cast<size_t>(param)]; }
  const std::vector<int>& params_of(int module) const;
  void mark_persistent(const DeepSpeed& settings);
  void read_trace();
  void gather(std::vector<int> params);
  void drop_from_queue(const std::vector<int>& params);
  void prefetch();
  bool reused(int param) const;
  const std::set<int>& releasable(int module);
  void release_param(int param);

  DeepSpeed settings_;
  const ModuleTrace* trace_;
  ParameterMemory& memory_;
  ModuleTrace recorded_;
  std::vector<State> states_;
  std::vector<int64_t> passed_;  ///< elements of all modules called before each step
  std::vector<Use> uses_;        ///< param_order
  size_t queue_ = 0;             ///< first of `uses_` that is not fetched yet
  int64_t step_ = 0, available_ = 0;
  std::vector<int> active_backward_;
  std::map<std::pair<int, int64_t>, std::set<int>> releasable_;  ///< lru_cache
};

}  // namespace memplan::deepspeed
