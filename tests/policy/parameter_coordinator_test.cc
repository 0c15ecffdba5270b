#include "policy/parameter_coordinator.h"

#include <doctest/doctest.h>

#include <string>

namespace memplan::deepspeed {
namespace {

// Writes down what is done: "+01" gathered together, "?0" waited for, "-0" freed.
struct Log : ParameterMemory {
  std::string text;
  void all_gather(std::span<const int> params) override {
    text += " +";
    for (int p : params) text += std::to_string(p);
  }
  void wait(int param) override { text += " ?" + std::to_string(param); }
  void free(int param) override { text += " -" + std::to_string(param); }
  std::string take() { return std::exchange(text, {}); }
};

using Event = ModuleTrace::Event;

// Three modules of one parameter each (10, 20 and 30 elements), forward and backward.
ModuleTrace three() {
  ModuleTrace out;
  out.modules = {{0}, {1}, {2}};
  for (int m : {0, 1, 2}) {
    out.calls.push_back({Event::fetch, m, true});
    out.calls.push_back({Event::release, m, true});
  }
  for (int m : {2, 1, 0}) {
    out.calls.push_back({Event::fetch, m, false});
    out.calls.push_back({Event::release, m, false});
  }
  out.calls.push_back({Event::release_leftovers, 0, false});
  return out;
}

DeepSpeed without_reuse() {
  DeepSpeed d;
  d.param_persistence_threshold = 0;
  d.max_reuse_distance = 0;
  d.prefetch_bucket_size = 0;
  return d;
}

std::string run(const DeepSpeed& settings, const ModuleTrace& trace) {
  Log log;
  ParameterCoordinator c(settings, {10, 20, 30}, &trace, log);
  c.gather_persistent();
  c.replay();
  return log.take();
}

TEST_CASE("each module gathers and frees its own where nothing is prefetched or reused") {
  CHECK(run(without_reuse(), three()) == " +0 ?0 -0 +1 ?1 -1 +2 ?2 -2 +2 ?2 -2 +1 ?1 -1 +0 ?0 -0");
}

TEST_CASE("what is used again within max_reuse_distance stays") {
  DeepSpeed d = without_reuse();
  d.max_reuse_distance = 1;  // the next module alone: parameter 2 at the turn
  CHECK(run(d, three()) == " +0 ?0 -0 +1 ?1 -1 +2 ?2 -2 +1 ?1 -1 +0 ?0 -0");
  d.max_reuse_distance = 1000;
  CHECK(run(d, three()) == " +0 ?0 +1 ?1 +2 ?2 -2 -1 -0");
}

TEST_CASE("parameters are prefetched together until the bucket is full") {
  DeepSpeed d = without_reuse();
  d.prefetch_bucket_size = 50;  // behind module 0: 20, then 30
  CHECK(run(d, three()).starts_with(" +0 ?0 +12 -0 ?1"));
  d.prefetch_bucket_size = 20;
  CHECK(run(d, three()).starts_with(" +0 ?0 +1 -0 ?1 +2 -1 ?2"));
  d.max_live_parameters = 10;  // those of module 0 already
  CHECK(run(d, three()).starts_with(" +0 ?0 -0 +1 ?1"));
}

TEST_CASE("small parameters persist, as many as the model's threshold lets") {
  DeepSpeed d = without_reuse();
  d.param_persistence_threshold = 20;
  CHECK(run(d, three()) == " +0 ?0 +1 ?1 +2 ?2 -2 +2 ?2 -2");
  d.model_persistence_threshold = 25;
  CHECK(run(d, three()) == " +0 ?0 +1 ?1 -1 +2 ?2 -2 +2 ?2 -2 +1 ?1 -1");
}

TEST_CASE("without a trace calls are recorded and nothing stays") {
  Log log;
  ParameterCoordinator c(without_reuse(), {10, 20}, nullptr, log);
  c.reset_step();
  const int first = c.add_module({1, 0});
  c.fetch(first, true);
  c.release(first, true);
  CHECK(log.take() == " +01 ?0 ?1 -0 -1");
  CHECK(c.recorded().modules == std::vector<std::vector<int>>{{0, 1}});
  CHECK(c.recorded().calls.size() == 2);
}

TEST_CASE("what backward never releases is released behind it") {
  Log log;
  const ModuleTrace trace{{{0}}, {{Event::fetch, 0, false}, {Event::release_leftovers, 0, false}}};
  ParameterCoordinator c(without_reuse(), {10}, &trace, log);
  c.reset_step();
  c.fetch(0, false);
  CHECK(log.take() == " +0 ?0");
  c.release_leftovers();
  CHECK(log.take() == " -0");
}

TEST_CASE("an optimizer's step releases what persists and what is still on its way") {
  Log log;
  DeepSpeed d = without_reuse();
  d.param_persistence_threshold = 10;
  d.prefetch_bucket_size = 1;
  const ModuleTrace trace{{{0}, {1}, {2}}, {{Event::fetch, 0, true}, {Event::fetch, 1, true}}};
  ParameterCoordinator c(d, {10, 20, 30}, &trace, log);
  c.gather_persistent();
  c.reset_step();
  c.fetch(0, true);
  CHECK(log.take() == " +0 ?0 +1");
  c.release_all();
  CHECK(log.take() == " -0 ?1 -1");
  c.gather_persistent();
  CHECK(log.take() == " +0 ?0");
}

}  // namespace
}  // namespace memplan::deepspeed
