#include "policy/textbook.h"

#include <doctest/doctest.h>

#include "../cost/jobs.h"
#include "memplan/error.h"

namespace memplan {
namespace {

TEST_CASE("ZeRO stages shard one state more each") {
  Strategy s;
  for (int zero = 0; zero <= 3; ++zero) {
    s.zero = zero;
    const StatePolicy policy = textbook::states(s);
    CHECK(policy.shard_optimizer == (zero >= 1));
    CHECK(policy.shard_gradients == (zero >= 2));
    CHECK(policy.transient_gradients == (zero >= 2));
    CHECK(policy.shard_weights == (zero >= 3));
    CHECK(policy.transient_weights == (zero >= 3));
  }
  s.zero = 0;
  s.offload.gradients = Placement::cpu;
  CHECK(textbook::states(s).transient_gradients);
}

TEST_CASE("what the ZeRO estimate does not define is refused, naming the option") {
  Job job = on(small_job(), 2, 2);
  job.strategy.activations = ActivationModel::zero;
  CHECK_THROWS_AS(textbook::require_modelled(job), Error);
  job = small_job();
  job.strategy.activations = ActivationModel::zero;
  textbook::require_modelled(job);
  job.strategy.recompute = Recompute::selective;
  CHECK_THROWS_AS(textbook::require_modelled(job), Error);
}

TEST_CASE("the answer names what is left out") {
  Job job = small_job();
  const size_t usual = textbook::not_modelled(job).size();
  job.cluster.gpu.cuda = false;
  CHECK(textbook::not_modelled(job).size() == usual + 1);
  job.strategy.precision = parse_precision("amp-bf16", "");
  CHECK(textbook::not_modelled(job).size() == usual + 2);
  CHECK_FALSE(textbook::assumptions(job).empty());
}

}  // namespace
}  // namespace memplan
