// FullyShardedDataParallel's flat parameters, by pencil.
#include "policy/fsdp1.h"

#include <doctest/doctest.h>

#include <array>

#include "memplan/error.h"
#include "policy/fsdp.h"

namespace memplan {
namespace {

Strategy flat(int64_t dp) {
  Strategy s;
  s.framework = Framework::fsdp1;
  s.dp = dp;
  s.precision = parse_precision("fp32", "--precision");
  s.fsdp.param_dtype = DType::bf16;
  s.fsdp.reduce_dtype = DType::f32;
  return s;
}

constexpr std::array<int64_t, 3> kElements{70, 6, 11};

TEST_CASE("a flat parameter is cut like torch.chunk, padded at its end alone") {
  const fsdp1::FlatParameter p = fsdp1::flatten(kElements, flat(4), DType::bf16);
  CHECK(p.total == 87);
  CHECK(p.padding.empty());
  CHECK(p.shard == 22);  // 22, 22, 22, 21
  CHECK(p.padded == 88);
  CHECK(p.within(0, 0) == 22);
  CHECK(p.within(0, 3) == 4);  // from 66 to 70
  CHECK(p.within(1, 3) == 6);
  CHECK(p.within(2, 3) == 11);
  CHECK(p.within(2, 0) == 0);
}

TEST_CASE("use_orig_params aligns each parameter to 16 bytes, and the whole to the world") {
  Strategy s = flat(7);
  s.fsdp.use_orig_params = true;
  // In bf16 8 elements: 70 + 2, 6 + 2, 11, and 7 · 13 = 91 is the total already.
  const fsdp1::FlatParameter p = fsdp1::flatten(kElements, s, DType::bf16);
  CHECK(p.offset == std::vector<int64_t>{0, 72, 80});
  CHECK(p.padding == std::vector<int64_t>{2, 2});
  CHECK(p.total == 91);
  CHECK(p.shard == 13);
  s.dp = 4;  // one more element
  CHECK(fsdp1::flatten(kElements, s, DType::bf16).total == 92);
  CHECK(fsdp1::flatten(kElements, s, DType::bf16).padding == std::vector<int64_t>{2, 2, 1});
  // In fp32 4 elements: 70 + 2, 6 + 2, 11 + 1.
  CHECK(fsdp1::flatten(kElements, s, DType::f32).total == 92);
}

TEST_CASE("NO_SHARD keeps all of it, padded for the world") {
  Strategy s = flat(4);
  s.fsdp.sharding = Fsdp::Sharding::no_shard;
  s.fsdp.use_orig_params = true;
  CHECK(fsdp::shards(s) == 1);
  const fsdp1::FlatParameter p = fsdp1::flatten(kElements, s, DType::bf16);
  CHECK(p.shard == 92);
  CHECK(p.within(2, 0) == 11);
}

TEST_CASE("what FSDP1 cannot do, or memplan cannot, is refused by name") {
  const auto refused = [](auto change, const char* option) {
    Job job;
    job.strategy = flat(4);
    job.strategy.global_batch = 4;
    change(job.strategy);
    try {
      fsdp1::require_modelled(job);
    } catch (const Error& e) {
      return e.where() == option;
    }
    return false;
  };
  CHECK(refused([](Strategy& s) { s.fsdp.wrap = Fsdp::Wrap::size; }, "--wrap-policy size"));
  CHECK(refused([](Strategy& s) { s.peft.kind = PeftKind::lora; }, "--peft"));
  CHECK(refused([](Strategy& s) { s.tp = 2; }, "--tp"));
  CHECK(refused([](Strategy& s) { s.fsdp.replicas = 4; }, "--dp-replicate"));
  CHECK(refused([](Strategy& s) { s.fsdp.after_forward = 1; }, "--reshard-after-forward"));
  CHECK(refused(
      [](Strategy& s) {
        s.offload = {Placement::cpu, Placement::cpu, Placement::cpu};
        s.global_batch = 8;
      },
      "--offload"));
}

}  // namespace
}  // namespace memplan
