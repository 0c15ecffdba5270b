#include "policy/parameter_coordinator.h"

#include <algorithm>
#include <limits>

#include "memplan/units.h"

namespace memplan::deepspeed {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::min();

}  // namespace

ParameterCoordinator::ParameterCoordinator(const DeepSpeed& settings, std::vector<int64_t> elements,
                                           const ModuleTrace* trace, ParameterMemory& memory)
    : settings_(settings), trace_(trace), memory_(memory) {
  for (int64_t n : elements) {
    State s;
    s.elements = n;
    s.fetched_for = kNever;
    states_.push_back(std::move(s));
  }
  mark_persistent(settings);
  if (trace_ != nullptr) read_trace();
}

// DeepSpeedZeRoOffload.mark_persistent_parameters
void ParameterCoordinator::mark_persistent(const DeepSpeed& settings) {
  int64_t total = 0;
  for (State& s : states_) {
    if (s.elements > settings.model_persistence_threshold - total) continue;
    if (s.elements > settings.param_persistence_threshold) continue;
    s.persists = true;
    total = checked_add(total, s.elements);
  }
}

// construct_parameter_trace_from_module_trace
void ParameterCoordinator::read_trace() {
  int64_t passed = 0, step = 0;
  for (const ModuleTrace::Call& call : trace_->calls) {
    if (call.event != ModuleTrace::Event::fetch) continue;
    passed_.push_back(passed);
    for (int param : params_of(call.module)) {
      uses_.push_back({param, step});
      state(param).used_at.push_back(static_cast<size_t>(step));
      passed = checked_add(passed, state(param).elements);
    }
    ++step;
  }
}

const std::vector<int>& ParameterCoordinator::params_of(int module) const {
  return (trace_ ? trace_->modules : recorded_.modules)[static_cast<size_t>(module)];
}

int ParameterCoordinator::add_module(std::vector<int> params) {
  std::ranges::sort(params);
  recorded_.modules.push_back(std::move(params));
  return static_cast<int>(recorded_.modules.size()) - 1;
}

void ParameterCoordinator::reset_step() {
  queue_ = 0;
  step_ = 0;
  available_ = 0;
  for (State& s : states_) s.fetched_for = kNever;
}

void ParameterCoordinator::gather(std::vector<int> params) {
  std::erase_if(params, [&](int p) { return state(p).status != Status::partitioned; });
  if (params.empty()) return;
  std::ranges::sort(params);
  for (int p : params) {
    available_ += state(p).elements;
    state(p).status = Status::in_flight;
  }
  memory_.all_gather(params);
}

void ParameterCoordinator::fetch(int module, bool forward) {
  if (trace_ == nullptr) recorded_.calls.push_back({ModuleTrace::Event::fetch, module, forward});
  if (!forward) {
    std::erase(active_backward_, module);
    active_backward_.push_back(module);
  }
  const std::vector<int>& params = params_of(module);
  gather(params);
  for (int p : params) {
    State& s = state(p);
    s.active.insert(module);
    if (s.status == Status::in_flight) memory_.wait(p);
    s.status = Status::available;
  }
  if (trace_ != nullptr) {
    drop_from_queue(params);
    prefetch();
  }
  ++step_;
}

// What this module needs is not prefetched later.
void ParameterCoordinator::drop_from_queue(const std::vector<int>& params) {
  const auto waiting = static_cast<size_t>(
      std::ranges::count_if(params, [&](int p) { return state(p).fetched_for < step_; }));
  std::set<int> dropped;
  while (queue_ < uses_.size() && dropped.size() < waiting) {
    const Use& use = uses_[queue_++];
    state(use.param).fetched_for = use.step;
    dropped.insert(use.param);
  }
}

void ParameterCoordinator::prefetch() {
  const int64_t most =
      std::min(settings_.max_live_parameters - available_, settings_.prefetch_bucket_size);
  std::vector<int> chosen;
  int64_t elements = 0;
  while (queue_ < uses_.size() && elements < most) {
    const Use& use = uses_[queue_++];
    State& s = state(use.param);
    s.fetched_for = std::max(s.fetched_for, use.step);
    if (s.status != Status::partitioned || std::ranges::count(chosen, use.param) > 0) continue;
    chosen.push_back(use.param);
    elements += s.elements;
  }
  gather(std::move(chosen));
}

// Whether a module within max_reuse_distance of now owns it.
bool ParameterCoordinator::reused(int param) const {
  const std::vector<size_t>& used = state(param).used_at;
  const auto now = static_cast<size_t>(step_);
  const auto next = std::ranges::lower_bound(used, now);
  return next != used.end() && passed_[*next] - passed_[now] < settings_.max_reuse_distance;
}

const std::set<int>& ParameterCoordinator::releasable(int module) {
  const auto [at, fresh] = releasable_.try_emplace({module, step_});
  if (fresh)
    for (int p : params_of(module))
      if (!state(p).persists && state(p).fetched_for <= step_ && !reused(p)) at->second.insert(p);
  return at->second;
}

void ParameterCoordinator::release(int module, bool forward) {
  if (trace_ == nullptr) recorded_.calls.push_back({ModuleTrace::Event::release, module, forward});
  if (!forward) std::erase(active_backward_, module);
  const std::set<int>* chosen = trace_ ? &releasable(module) : nullptr;
  for (int p : params_of(module)) {
    state(p).active.erase(module);
    if (chosen == nullptr || chosen->contains(p)) release_param(p);
  }
}

void ParameterCoordinator::release_param(int param) {
  State& s = state(param);
  if (s.status != Status::available || !s.active.empty()) return;
  memory_.free(param);
  s.status = Status::partitioned;
  available_ -= s.elements;
}

void ParameterCoordinator::release_leftovers() {
  if (trace_ == nullptr)
    recorded_.calls.push_back({ModuleTrace::Event::release_leftovers, 0, false});
  while (!active_backward_.empty()) {
    const int module = active_backward_.back();
    active_backward_.pop_back();
    for (int p : params_of(module)) {
      state(p).active.erase(module);
      if (!state(p).persists) release_param(p);
    }
  }
}

void ParameterCoordinator::replay() {
  using Event = ModuleTrace::Event;
  reset_step();
  for (const ModuleTrace::Call& call : trace_->calls) {
    if (call.event == Event::fetch) fetch(call.module, call.forward);
    if (call.event == Event::release) release(call.module, call.forward);
    if (call.event == Event::release_leftovers) release_leftovers();
  }
}

void ParameterCoordinator::release_all() {
  for (size_t p = 0; p < states_.size(); ++p) {
    if (states_[p].status == Status::in_flight) {
      memory_.wait(static_cast<int>(p));
      states_[p].status = Status::available;
    }
    states_[p].active.clear();
    release_param(static_cast<int>(p));
  }
}

// Parameter.all_gather of a list: each into a tensor of its own.
void ParameterCoordinator::gather_persistent() {
  for (size_t p = 0; p < states_.size(); ++p) {
    if (!states_[p].persists || states_[p].status != Status::partitioned) continue;
    const int one[] = {static_cast<int>(p)};
    memory_.all_gather(one);
    memory_.wait(one[0]);
    states_[p].status = Status::available;
  }
}

}  // namespace memplan::deepspeed
