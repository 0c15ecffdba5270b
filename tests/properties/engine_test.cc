// What must hold for every job, checked on random ones.
#include <doctest/doctest.h>

#include <random>

#include "../cost/jobs.h"
#include "memplan/error.h"

namespace memplan {
namespace {

class Dice {
 public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  int64_t upto(int64_t n) { return std::uniform_int_distribution<int64_t>(0, n - 1)(engine_); }
  template <size_t N>
  int64_t of(const int64_t (&choices)[N]) {
    return choices[upto(N)];
  }

 private:
  std::mt19937 engine_;
};

Job random_job(Dice& dice) {
  Job job = small_job(1 + dice.upto(12));
  Strategy& s = job.strategy;
  s.micro_batch = 1 + dice.upto(4);
  s.sequence = dice.of({32, 64, 96, 128});
  s.cp = dice.of({1, 1, 2});
  s.vpp = dice.of({1, 1, 1, 2});
  s.zero = static_cast<int>(dice.upto(4));
  s.recompute = static_cast<Recompute>(dice.upto(3));
  s.attention = static_cast<AttentionKind>(dice.upto(2));
  s.schedule = static_cast<ScheduleKind>(dice.upto(4));
  s.optimizer = static_cast<OptimizerKind>(dice.upto(7));
  s.precision = precisions()[static_cast<size_t>(dice.upto(std::ssize(precisions())))].value;
  s.training = dice.upto(8) != 0;
  s.peft.kind = dice.upto(3) == 0 ? static_cast<PeftKind>(dice.upto(6)) : PeftKind::none;
  s.peft.targets = {"c_attn"};
  s.peft.dropped_layers = s.peft.kind == PeftKind::adapter_drop ? dice.upto(3) : 0;
  s.offload.optimizer = static_cast<Placement>(dice.upto(3));
  const int64_t tp = dice.of({1, 1, 2, 4}), pp = dice.of({1, 1, 2, 3, 4}), dp = dice.of({1, 2, 4});
  s.sequence_parallel = tp > 1 && dice.upto(2) == 0;
  return on(job, tp * pp * dp * s.cp, tp, pp, dice.of({1, 2, 4, 8, 12}));
}

template <typename Check>
int for_random_jobs(unsigned seed, int rounds, Check check) {
  Dice dice(seed);
  int possible = 0;
  for (int i = 0; i < rounds; ++i) {
    const Job job = random_job(dice);
    try {
      const Plan plan = predict(job);
      ++possible;
      CAPTURE(i);
      check(job, plan);
    } catch (const Error& error) {
      // An impossible job says which option is at fault.
      CHECK_FALSE(error.where().empty());
    }
  }
  return possible;
}

TEST_CASE("every line is accounted for, and ranks add up to the world") {
  const int possible = for_random_jobs(1, 1500, [](const Job& job, const Plan& plan) {
    int64_t ranks = 0;
    for (const RankPlan& rank : plan.ranks) {
      ranks += rank.count;
      Bytes sum;
      for (const LedgerLine& line : rank.lines) {
        CHECK(line.bytes > Bytes(0));
        CHECK_FALSE(line.source.empty());
        sum += line.bytes;
      }
      CHECK(sum == rank.memory.allocated);
      Bytes outside;
      for (const LedgerLine& line : rank.outside) outside += line.bytes;
      CHECK(rank.memory.device == rank.memory.reserved + outside);
      Bytes highest;
      for (const PhasePeak& phase : rank.phases) highest = std::max(highest, phase.allocated);
      CHECK(highest == rank.memory.allocated);
    }
    CHECK(ranks == job.cluster.gpus);
    CHECK(plan.verdict.low <= plan.verdict.expected);
    CHECK(plan.verdict.expected <= plan.verdict.high);
  });
  CHECK(possible > 500);
}

TEST_CASE("each ZeRO stage holds no more states than the one before") {
  for_random_jobs(2, 400, [](const Job& job, const Plan& plan) {
    if (job.strategy.zero == 3) return;
    Job next = job;
    ++next.strategy.zero;
    if (job.strategy.pp > 1 && job.strategy.schedule == ScheduleKind::pipedream) return;
    const Plan more = predict(next);
    for (size_t i = 0; i < plan.ranks.size(); ++i) {
      const States &a = plan.ranks[i].states, &b = more.ranks[i].states;
      CHECK(a.weights + a.gradients + a.optimizer >= b.weights + b.gradients + b.optimizer);
    }
  });
}

TEST_CASE("recomputation never keeps more at the end of forward") {
  for_random_jobs(3, 400, [](const Job& job, const Plan& plan) {
    if (job.strategy.recompute != Recompute::none || !job.strategy.training) return;
    Bytes last = plan.ranks[0].phases[0].allocated;
    for (const Recompute recompute : {Recompute::selective, Recompute::full}) {
      Job next = job;
      next.strategy.recompute = recompute;
      const Bytes now = predict(next).ranks[0].phases[0].allocated;
      CHECK(now <= last);
      last = now;
    }
  });
}

TEST_CASE("activations grow in proportion to the micro-batch") {
  for_random_jobs(4, 400, [](const Job& job, const Plan& plan) {
    Job twice = job;
    twice.strategy.micro_batch *= 2;
    twice.strategy.global_batch *= 2;
    const Plan more = predict(twice);
    for (size_t i = 0; i < plan.ranks.size(); ++i)
      if (plan.ranks[i].memory.transient == Bytes(0) && more.ranks[i].memory.transient == Bytes(0))
        CHECK(more.ranks[i].memory.activations == 2 * plan.ranks[i].memory.activations);
  });
}

TEST_CASE("a thousand layers are lowered once: memory grows by the same bytes with each layer") {
  const auto allocated = [](int64_t layers) {
    return predict(small_job(layers)).ranks[0].memory.allocated;
  };
  const Bytes each = allocated(3) - allocated(2);
  CHECK(allocated(1000) == allocated(2) + 998 * each);
}

TEST_CASE("data-parallel ranks leave a rank's activations alone") {
  const Bytes one = predict(on(small_job(), 1)).ranks[0].memory.activations;
  CHECK(predict(on(small_job(), 64)).ranks[0].memory.activations == one);
}

}  // namespace
}  // namespace memplan
