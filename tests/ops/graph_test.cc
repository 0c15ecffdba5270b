#include "ops/graph.h"

#include <doctest/doctest.h>

#include "memplan/error.h"
#include "ops/linear.h"
#include "probe.h"

namespace memplan {
namespace {

TEST_CASE("what is trained follows the job: everything, biases, adapters, saved modules") {
  Probe probe;
  Graph all = probe.graph();
  CHECK(all.param(make_param("mlp.up.weight", {4, 4})));

  probe.context.trainable = Trainable::Kind::bias;
  Graph bias = probe.graph();
  CHECK_FALSE(bias.param(make_param("mlp.up.weight", {4, 4})));
  CHECK(bias.param(make_param("mlp.up.bias", {4})));
  CHECK(bias.param(make_param("mlp.experts.down_proj_bias", {4})));

  probe.context.trainable = Trainable::Kind::all;
  probe.peft.kind = PeftKind::lora;
  probe.peft.modules_to_save = {"lm_head"};
  Graph peft = probe.graph();
  CHECK_FALSE(peft.param(make_param("mlp.up.weight", {4, 4})));
  CHECK(peft.param(make_param("lm_head.weight", {4, 4})));
  CHECK_FALSE(peft.param(make_param("other_lm_head.weight", {4, 4})));
  Param adapter = make_param("mlp.up.lora_A.default.weight", {1, 4});
  adapter.adapter = true;
  CHECK(peft.param(adapter));

  probe.context.training = false;
  Graph inference = probe.graph();
  CHECK_FALSE(inference.param(adapter));
}

TEST_CASE("a rank's part of a parameter: experts, then the tensor-parallel cut, rounded up") {
  Param p = make_param("w", {8, 10, 6}, Cut::dim1, 4);
  p.expert_parts = 2;
  CHECK(p.elements() == 480);
  CHECK(p.local_elements() == 4 * 3 * 6);
}

TEST_CASE("sizes that do not fit 63 bits are an error") {
  const Param p = make_param("w", {int64_t{1} << 40, int64_t{1} << 40});
  CHECK_THROWS_AS(p.elements(), Error);
}

}  // namespace
}  // namespace memplan
