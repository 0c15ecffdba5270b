#include "policy/megatron_muon.h"

#include <doctest/doctest.h>

#include "memplan/error.h"

namespace memplan {
namespace {

using megatron::optimizer_shares;
using megatron::OptimizerShare;
using megatron::OptimizerTensor;

OptimizerTensor adams(int64_t elements) {
  OptimizerTensor t;
  t.elements = elements;
  t.vector = true;
  return t;
}

OptimizerTensor matrix(int64_t rows, int64_t columns) {
  OptimizerTensor t;
  t.elements = rows * columns;
  t.rows = rows;
  t.columns = columns;
  return t;
}

Strategy layer_wise(int64_t dp) {
  Strategy s;
  s.framework = Framework::megatron;
  s.optimizer = OptimizerKind::muon;
  s.precision = parse_precision("mixed-bf16", "test");
  s.dp = dp;
  s.zero = 1;
  s.megatron.muon.precomputed_layout = false;
  return s;
}

std::vector<int64_t> sizes(const OptimizerShare& share) {
  std::vector<int64_t> out;
  for (const OptimizerTensor& t : share.own) out.push_back(t.elements);
  return out;
}

using Sizes = std::vector<int64_t>;

// The example in layer_wise_optimizer.py: of ten parameters sorted by size four ranks get
// [[p0, p7, p8], [p1, p6, p9], [p2, p5], [p3, p4]].
TEST_CASE("whole tensors are dealt out by size, back and forth") {
  std::vector<OptimizerTensor> tensors;
  for (int64_t size : {5, 1, 2, 3, 4, 6, 10, 9, 8, 7}) tensors.push_back(adams(size));
  const std::vector<OptimizerShare> shares = optimizer_shares(layer_wise(4), tensors);
  REQUIRE(shares.size() == 4);
  CHECK(sizes(shares[0]) == Sizes{1, 8, 9});
  CHECK(sizes(shares[1]) == Sizes{2, 7, 10});
  CHECK(sizes(shares[2]) == Sizes{3, 6});
  CHECK(sizes(shares[3]) == Sizes{4, 5});
  CHECK(shares[3].first == 3);
}

// Two tensor-parallel ranks beside each other hold the same share; a third tensor comes back to the
// second pair.
TEST_CASE("ranks with equal shares are one kind, the last rank's last") {
  Strategy s = layer_wise(2);
  s.tp = 2;
  const std::vector<OptimizerShare> shares =
      optimizer_shares(s, std::vector{adams(1), adams(2), adams(3)});
  REQUIRE(shares.size() == 2);
  CHECK(shares[0].first == 0);
  CHECK(shares[0].count == 2);
  CHECK(sizes(shares[0]) == Sizes{1});
  CHECK(shares[1].first == 2);
  CHECK(sizes(shares[1]) == Sizes{2, 3});
  CHECK(optimizer_shares(s, std::vector{adams(4), adams(4)}).size() == 1);
  s.zero = 0;
  const std::vector<OptimizerShare> whole = optimizer_shares(s, std::vector{adams(1), adams(2)});
  REQUIRE(whole.size() == 1);
  CHECK(whole[0].count == 4);
  CHECK(sizes(whole[0]) == Sizes{1, 2});
}

// dp 4, ep 2: ranks 0 and 2 hold the same experts, as do 1 and 3; the larger ones are dealt to 2
// and 3, which have nothing else.
TEST_CASE("experts are dealt out to the ranks that hold the same ones") {
  Strategy s = layer_wise(4);
  s.ep = 2;
  std::vector<OptimizerTensor> tensors{matrix(10, 10), matrix(10, 20), matrix(10, 30),
                                       matrix(10, 40)};
  for (size_t i = 0; i < 2; ++i) tensors[i].expert = true;
  const std::vector<OptimizerShare> shares = optimizer_shares(s, tensors);
  REQUIRE(shares.size() == 3);
  CHECK(sizes(shares[0]) == Sizes{300, 100});
  CHECK(sizes(shares[1]) == Sizes{400, 100});
  CHECK(sizes(shares[2]) == Sizes{200});
  CHECK(shares[2].count == 2);
}

// n = 256 elements: the result, its multiple and that one's multiple, 4 B an element each. With
// 0.2 of the package the update before is still there; Nesterov's gradient is one tensor more.
TEST_CASE("an update is three wide tensors at its highest") {
  Strategy s = layer_wise(1);
  s.zero = 0;
  const auto peak = [&](std::vector<OptimizerTensor> tensors) {
    return optimizer_shares(s, tensors)[0].step.transient.count();
  };
  CHECK(peak({matrix(8, 32)}) == 12 * 256);
  CHECK(peak({matrix(8, 32), matrix(8, 32)}) == 16 * 256);
  CHECK(peak({adams(4096)}) == 0);
  s.megatron.core = {0, 17, 0};
  CHECK(peak({matrix(8, 32), matrix(8, 32)}) == 12 * 256);
  s.megatron.muon.nesterov = true;
  CHECK(peak({matrix(8, 32)}) == 16 * 256);
  // In fp32 X, A, B and the next X of a square are there at once: 16 B an element.
  s.megatron.muon = {.bf16_products = false, .precomputed_layout = false};
  CHECK(peak({matrix(16, 16)}) == 16 * 256);
}

// 32 rows in two groups: 16 of queries, 8 of keys, 8 of values, of 32 columns. Copies of all: 4096
// B. Queries: 12 · 512. Values, with both others' updates: 4 · (512 + 256) + 12 · 256.
TEST_CASE("queries, keys and values are orthogonalized apart") {
  Strategy s = layer_wise(1);
  s.zero = 0;
  OptimizerTensor qkv = matrix(32, 32);
  qkv.query_rows = 16;
  qkv.key_rows = 8;
  qkv.query_groups = 2;
  const auto peak = [&] { return optimizer_shares(s, std::vector{qkv})[0].step.transient.count(); };
  CHECK(4096 + 12 * 512 == 4096 + 4 * 768 + 12 * 256);
  CHECK(peak() == 4096 + 12 * 512);
  // A single group's rows are views: 8192 of the three parts and the whole they are put together
  // to.
  qkv.query_groups = 1;
  CHECK(peak() == 8192);
  s.megatron.muon.split_qkv = false;
  CHECK(peak() == 12 * 1024);
}

// 100 and 60 elements in bf16, received as two tensors; up to 0.17 what is sent is one more.
TEST_CASE("updated weights are gathered") {
  Strategy s = layer_wise(2);
  const std::vector<OptimizerTensor> uneven{adams(100), adams(60)};
  CHECK(optimizer_shares(s, uneven)[0].step.transient == Bytes(2 * 160));
  s.megatron.core = {0, 17, 0};
  CHECK(optimizer_shares(s, uneven)[0].step.transient == Bytes(2 * (160 + 60)));
  CHECK(optimizer_shares(s, uneven)[1].step.transient == Bytes(2 * (160 + 100)));
  s.megatron.core = {0, 18, 0};
  CHECK(optimizer_shares(s, std::vector{adams(100), adams(100)})[0].step.transient ==
        Bytes(2 * 2 * 200));
}

// From the last on 100, 300, 200, 100; two shards of multiples of lcm(64, 128 / 2). In one bucket
// the 300 goes to the first, the 200 and, from 256 on, a 100 to the second, the other 100 from 320
// on to the first, which has 300 of its elements where the second has 356: 420, rounded up to 448.
TEST_CASE("matrices lie whole in shards of one size") {
  const std::vector<int64_t> elements{100, 200, 300, 100};
  const megatron::ShardLayout one = megatron::shard_layout(elements, 2, 0, 128);
  CHECK(one.elements == 2 * 448);
  CHECK(one.shards == std::vector<std::vector<size_t>>{{0, 2}, {1, 3}});
  // A bucket of 150 closes with the 300, 100 and 300 being more than 0.9 · 2 · 100 and, then, not
  // more than 0.9 · 2 · 300: with the 200 they are. 300 | 200, then from 256 on 100; 448 in all;
  // the first 100 alone: 128.
  const megatron::ShardLayout two = megatron::shard_layout(elements, 2, 150, 128);
  CHECK(two.elements == 2 * 384 + 2 * 128);
  CHECK(two.shards == std::vector<std::vector<size_t>>{{0, 2}, {1, 3}});
}

TEST_CASE("with a layout a share is Muon's alone and nothing is gathered beside the buffer") {
  Strategy s = layer_wise(2);
  s.megatron.muon.precomputed_layout = true;
  const std::vector<OptimizerTensor> tensors{matrix(10, 10), adams(50), matrix(10, 20)};
  const std::vector<OptimizerShare> shares = optimizer_shares(s, tensors);
  REQUIRE(shares.size() == 2);
  CHECK(sizes(shares[0]) == Sizes{200});
  CHECK(sizes(shares[1]) == Sizes{100});
  CHECK(shares[1].step.transient == Bytes(12 * 100));
  std::vector<OptimizerTensor> biased = tensors;
  biased[1].expert = true;
  CHECK_THROWS_WITH_AS(optimizer_shares(s, biased), doctest::Contains("--disable-bias-linear"),
                       Error);
}

TEST_CASE("another Muon is refused by name") {
  Job job;
  job.strategy = layer_wise(2);
  CHECK_NOTHROW(megatron::require_muon(job));
  const auto refuses = [&](auto change, const char* text) {
    Job other = job;
    change(other);
    CHECK_THROWS_WITH_AS(megatron::require_muon(other), doctest::Contains(text), Error);
  };
  refuses([](Job& j) { j.strategy.megatron.overlap_param_gather = true; }, "under forward");
  refuses([](Job& j) { j.strategy.megatron.optimizer_instances = 2; }, "several instances");
  refuses([](Job& j) { j.strategy.precision.weight = DType::f32; }, "bf16 alone");
  refuses([](Job& j) { j.strategy.peft.kind = PeftKind::bridge_lora; }, "adapters");
  refuses([](Job& j) { j.model.head = ModelHead::seq2seq_lm; }, "T5Model");
}

}  // namespace
}  // namespace memplan
