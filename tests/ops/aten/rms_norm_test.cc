#include "ops/aten/rms_norm.h"

#include <doctest/doctest.h>

#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

constexpr int64_t kRows = 8, kWidth = 16;

int64_t kept_by(Backend backend, DType weight_dtype) {
  Session s(backend, {2, 14, 1});
  Leaf& weight = s.leaf({kWidth}, weight_dtype, true, 1);
  const int64_t before = s.ledger.live();
  Tensor x = allocate(s, {kRows, kWidth}, DType::bf16);
  const Tensor out = rms_norm(x, weight.value);
  x.reset();
  return s.ledger.live() - before - out.bytes();
}

TEST_CASE("one kernel keeps the input and a reciprocal root a row") {
  CHECK(kept_by(Backend::cuda, DType::bf16) == kRows * kWidth * 2 + kRows * 4);
}

TEST_CASE("the composite keeps in fp32 what the weight's gradient reads") {
  // The input is wanted by nobody here: the reciprocal root goes with its gradient.
  CHECK(kept_by(Backend::cpu, DType::bf16) == kRows * kWidth * 4);
  CHECK(kept_by(Backend::cuda, DType::f32) == kRows * kWidth * 4);
}

}  // namespace
}  // namespace memplan::aten
