#include "ops/optimizer.h"

namespace memplan {
namespace {

Bytes adafactor(std::span<const int64_t> shape, int64_t elements) {
  if (shape.size() < 2) return Bytes(checked_mul(elements, 4));
  const int64_t rows = shape[shape.size() - 2], columns = shape[shape.size() - 1];
  const int64_t matrices = rows * columns == 0 ? 0 : elements / (rows * columns);
  return Bytes(product({matrices, checked_add(rows, columns), 4}));
}

Bytes adam8bit(int64_t elements) {
  constexpr int64_t kSmallest = 4096, kBlock = 256;
  if (elements < kSmallest) return Bytes(checked_mul(elements, 8));
  return 2 * Bytes(checked_add(elements, checked_mul(4, ceil_div(elements, kBlock))));
}

}  // namespace

Bytes optimizer_state(OptimizerKind kind, std::span<const int64_t> shape, DType dtype) {
  int64_t elements = 1;
  for (int64_t size : shape) elements = checked_mul(elements, size);
  switch (kind) {
    case OptimizerKind::adamw:
    case OptimizerKind::adam:
      return Bytes(product({elements, 2, size_of(dtype)}));
    case OptimizerKind::sgd:
      return Bytes(0);
    case OptimizerKind::sgd_momentum:
    case OptimizerKind::lion:
      return Bytes(checked_mul(elements, size_of(dtype)));
    case OptimizerKind::adafactor:
      return adafactor(shape, elements);
    case OptimizerKind::adam8bit:
      return adam8bit(elements);
  }
  return Bytes(0);
}

}  // namespace memplan
