// fully_shard's cuts and buffers, by pencil.
#include "policy/fsdp2.h"

#include <doctest/doctest.h>

#include "memplan/error.h"

namespace memplan {
namespace {

Strategy mixed(int64_t dp) {
  Strategy s;
  s.framework = Framework::fsdp2;
  s.dp = dp;
  s.precision = parse_precision("fp32", "--precision");
  s.fsdp.param_dtype = DType::bf16;
  s.fsdp.reduce_dtype = DType::f32;
  return s;
}

fsdp2::Parameter matrix(int64_t rows, int64_t columns, bool trained = true) {
  return {{rows, columns}, 2, DType::f32, trained};
}

TEST_CASE("rows are cut like torch.chunk: the last ranks get what is left, which may be nothing") {
  // chunk(10 rows, 4): 3, 3, 3, 1. chunk(10 rows, 8): 2, 2, 2, 2, 2, then nothing.
  const fsdp2::Parameter p = matrix(10, 7);
  CHECK(fsdp2::shard(p, 4, 0).shape[0] == 3);
  CHECK(fsdp2::shard(p, 4, 3).shape[0] == 1);
  CHECK(fsdp2::shard(p, 4, 3).padded == 21);
  CHECK(fsdp2::shard(p, 8, 4).shape[0] == 2);
  CHECK(fsdp2::shard(p, 8, 5).shape[0] == 0);
  CHECK(fsdp2::shard(p, 8, 7).shape[0] == 0);
  CHECK(fsdp2::shard(p, 1, 0).padded == 70);
}

TEST_CASE("buffers of a group: a trained matrix of 10 rows and a frozen vector, over 4 GPUs") {
  const fsdp2::Parameter group[] = {matrix(10, 7), {{6}, 1, DType::f32, false}};
  // Padded rows: 12 of 7, 8 of 1.
  const fsdp2::Buffers b = fsdp2::buffers(group, mixed(4), std::nullopt);
  CHECK(b.params[0].sharded == 21 * 4);
  CHECK(b.params[1].sharded == 2 * 4);
  CHECK(b.params[0].cast == 21 * 2);
  CHECK(b.params[0].unsharded == 84 * 2);
  CHECK(b.params[0].resharded == 0);
  CHECK(b.gathered == (84 + 8) * 2);
  CHECK(b.reduce_input == 84 * 4);  // of the trained one alone
  CHECK(b.reduced == 21 * 4);
  CHECK(b.gradients == 21 * 4);
  CHECK_FALSE(b.casts_gradients);
  CHECK(b.params[0].accumulated == 70 * 4);  // whole gradients are not padded
  CHECK(b.accumulates_apart);                // bf16 gradients are added up in fp32
}

TEST_CASE("HSDP cuts over the GPUs of one copy") {
  Strategy s = mixed(8);
  s.fsdp.replicas = 2;
  CHECK(fsdp::shards(s) == 4);
  const fsdp2::Parameter group[] = {matrix(10, 7)};
  const fsdp2::Buffers b = fsdp2::buffers(group, s, std::nullopt);
  CHECK(b.params[0].sharded == 21 * 4);
  CHECK(b.reduce_input == 84 * 4);
  CHECK(b.keeps_reduced);
  CHECK_FALSE(fsdp2::buffers(group, mixed(4), std::nullopt).keeps_reduced);
}

TEST_CASE("what the dtypes of a policy decide") {
  const fsdp2::Parameter group[] = {matrix(8, 8)};
  Strategy s = mixed(4);
  SUBCASE("gradients reduced in 16 bits are cast to the parameters' own type") {
    s.fsdp.reduce_dtype = DType::bf16;
    const fsdp2::Buffers b = fsdp2::buffers(group, s, std::nullopt);
    CHECK(b.reduced == 16 * 2);
    CHECK(b.gradients == 16 * 4);
    CHECK(b.casts_gradients);
    CHECK_FALSE(b.accumulates_apart);
  }
  SUBCASE("without a policy nothing is copied before it is gathered") {
    s.fsdp.param_dtype = s.fsdp.reduce_dtype = std::nullopt;
    const fsdp2::Buffers b = fsdp2::buffers(group, s, std::nullopt);
    CHECK(b.params[0].cast == 0);
    CHECK(b.gathered == 64 * 4);
    CHECK(b.reduce_input == 64 * 4);
  }
}

TEST_CASE("reshard_after_forward as a number keeps that share of what was gathered") {
  const fsdp2::Parameter group[] = {matrix(10, 7)};
  const fsdp2::Buffers b = fsdp2::buffers(group, mixed(4), 2);
  CHECK(b.params[0].resharded == 84 * 2 / 2);
  CHECK_FALSE(b.whole_after_forward);
  CHECK(fsdp2::buffers(group, mixed(4), 1).whole_after_forward);
  // On one GPU True still frees the copy.
  CHECK_FALSE(fsdp2::buffers(group, mixed(1), std::nullopt).whole_after_forward);
}

TEST_CASE("what is not modelled is refused by name") {
  Job job;
  job.strategy = mixed(8);
  CHECK_NOTHROW(fsdp2::require_modelled(job));
  SUBCASE("a number of GPUs that does not divide the world") {
    job.strategy.fsdp.after_forward = 3;
    CHECK_THROWS_WITH_AS(fsdp2::require_modelled(job),
                         doctest::Contains("3 is no factor of the 8 GPUs that share a parameter"),
                         Error);
  }
  SUBCASE("half an offload") {
    job.strategy.offload.optimizer = Placement::cpu;
    CHECK_THROWS_WITH_AS(fsdp2::require_modelled(job), doctest::Contains("together"), Error);
  }
  SUBCASE("an optimizer whose states of a DTensor are not known") {
    job.strategy.optimizer = OptimizerKind::adafactor;
    CHECK_THROWS_AS(fsdp2::require_modelled(job), Error);
  }
}

}  // namespace
}  // namespace memplan
