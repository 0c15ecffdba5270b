// Operators of routers and experts: what lives, by pencil.
#include <doctest/doctest.h>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/aten/session.h"

namespace memplan::aten {
namespace {

constexpr int64_t kFloat = 4, kLong = 8;

TEST_CASE("topk keeps its indices and not its input") {
  Session s(Backend::cuda, {2, 14, 1});
  Leaf& scores = s.leaf({8, 16}, DType::f32, true, 1);
  Tensor x = add_scalar(scores.value);
  Selected top = topk(x, 2);
  x.reset();
  top.indices.reset();
  CHECK(s.ledger.live() == 8 * 16 * kFloat + 8 * 2 * (kFloat + kLong));
}

TEST_CASE("dividing in place copies what it overwrites, and only for the divisor's gradient") {
  Session s(Backend::cuda, {2, 14, 1});
  Leaf& scores = s.leaf({8, 2}, DType::f32, true, 1);
  const Tensor constant = allocate(s, {8, 1}, DType::f32);
  Tensor x = add_scalar(scores.value);
  const int64_t before = s.ledger.live();
  x = div_in_place(x, constant);
  CHECK(s.ledger.live() == before);
  Tensor total = sum_last(x);
  x = div_in_place(x, total);
  total.reset();
  CHECK(s.ledger.live() == before + (8 * 2 + 8) * kFloat);  // the copy and the total
}

TEST_CASE("rows of a grouped product start at 16 bytes") {
  Session s(Backend::cuda, {2, 14, 1});
  const Tensor x = allocate(s, {10, 8}, DType::bf16);
  const Tensor weight = allocate(s, {4, 8, 12}, DType::bf16);
  const Tensor offsets = allocate(s, {4}, DType::i32);
  const Tensor y = grouped_mm(x, weight, offsets);
  CHECK(y.sizes() == Shape{10, 12});
  CHECK(y.strides() == Shape{16, 1});
}

TEST_CASE("a gradient of picked rows is written in place, unless somebody watches") {
  for (const bool watched : {false, true}) {
    Session s(Backend::cuda, {2, 14, 1});
    s.watched = watched;
    Leaf& table = s.leaf({32, 4}, DType::f32, true, 1);
    const Tensor rows = allocate(s, {8}, DType::i64);
    Tensor loss = sum_last(view(index_rows(table.value, rows), {32}));
    const int64_t before = s.ledger.live();
    s.ledger.enter(Phase::backward);
    run_backward(s, loss);
    s.ledger.leave();
    const int64_t ones = kFloat, one = 32 * 4 * kFloat;
    CHECK(s.ledger.peak(Phase::backward).level.bytes == before + ones + (watched ? 2 : 1) * one);
    CHECK(table.grad.sizes() == Shape{32, 4});
  }
}

}  // namespace
}  // namespace memplan::aten
