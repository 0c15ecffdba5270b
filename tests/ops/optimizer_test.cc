#include "ops/optimizer.h"

#include <doctest/doctest.h>

#include <array>

namespace memplan {
namespace {

int64_t state(OptimizerKind kind, std::span<const int64_t> shape, DType dtype = DType::f32) {
  return optimizer_state(kind, shape, dtype).count();
}

TEST_CASE("moments by optimizer") {
  const std::array<int64_t, 2> matrix = {100, 200};
  CHECK(state(OptimizerKind::adamw, matrix) == 20000 * 8);
  CHECK(state(OptimizerKind::adam, matrix, DType::bf16) == 20000 * 4);
  CHECK(state(OptimizerKind::sgd, matrix) == 0);
  CHECK(state(OptimizerKind::sgd_momentum, matrix) == 20000 * 4);
  CHECK(state(OptimizerKind::lion, matrix, DType::bf16) == 20000 * 2);
}

TEST_CASE("Adafactor keeps a row and a column sum of each matrix, all of a vector") {
  const std::array<int64_t, 2> matrix = {100, 200};
  const std::array<int64_t, 1> vector = {300};
  const std::array<int64_t, 3> experts = {8, 100, 200};
  CHECK(state(OptimizerKind::adafactor, matrix) == (100 + 200) * 4);
  CHECK(state(OptimizerKind::adafactor, vector) == 300 * 4);
  CHECK(state(OptimizerKind::adafactor, experts) == 8 * (100 + 200) * 4);
}

TEST_CASE("8-bit Adam: 2.03125 bytes an element, fp32 below 4096 elements") {
  const std::array<int64_t, 1> large = {1 << 20};
  const std::array<int64_t, 1> small = {4095};
  const std::array<int64_t, 1> ragged = {4097};
  CHECK(state(OptimizerKind::adam8bit, large) * 32 == (1 << 20) * 65);
  CHECK(state(OptimizerKind::adam8bit, small) == 4095 * 8);
  CHECK(state(OptimizerKind::adam8bit, ragged) == 2 * 4097 + 2 * 4 * 17);
}

}  // namespace
}  // namespace memplan
