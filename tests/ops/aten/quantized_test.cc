// Bytes of quantized weights and of a product with one, by pencil.
#include "ops/aten/quantized.h"

#include <doctest/doctest.h>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/aten/session.h"

namespace memplan::aten {
namespace {

using Sizes = std::vector<int64_t>;

constexpr QuantFormat kNf4{QuantKind::nf4, false, DType::bf16, DType::bf16};
constexpr QuantFormat kNf4Dq{QuantKind::nf4, true, DType::bf16, DType::bf16};
constexpr QuantFormat kInt8{QuantKind::int8, false, DType::bf16, DType::bf16};

TEST_CASE("a 4096 x 4096 matrix: half a byte an element, a scale for 64, tables") {
  const Shape sizes{4096, 4096};
  CHECK(quantized_storages(kNf4, sizes) == Sizes{8388608, 262144 * 4, 16 * 4});
  CHECK(quantized_storages(kNf4Dq, sizes) == Sizes{8388608, 262144, 16 * 4, 1024 * 4, 256 * 4, 4});
  CHECK(quantized_storages(kInt8, sizes) == Sizes{16777216, 4096 * 4});
}

TEST_CASE("what does not fill a byte or a block takes a whole one") {
  const Shape sizes{3, 43};  // 129 elements
  CHECK(quantized_storages(kNf4, sizes) == Sizes{65, 3 * 4, 16 * 4});
  CHECK(quantized_elements(kNf4, sizes) == 130);
  CHECK(quantized_elements(kInt8, sizes) == 129);
}

TEST_CASE("each storage is a block of the CUDA allocator by itself") {
  Session s(Backend::cuda, {2, 14, 1});
  s.rounds_to_512 = true;
  s.quantized_leaf({64, 64}, kNf4Dq, 3);  // 2048; 64, 64, 4, 1024 and 4 bytes
  CHECK(s.ledger.live() == 3 * (2048 + 4 * 512 + 1024));
}

// x [16, 256] fp32, W [128, 256] in NF4, products in bf16, on CUDA.
struct QLoraLinear {
  static constexpr int64_t kX = 16 * 256, kW = 128 * 256, kY = 16 * 128;
  Session s{Backend::cuda, {2, 14, 1}};
  Tensor weight;
  Leaf& trained;

  explicit QLoraLinear(const QuantFormat& format)
      : weight(s.quantized_leaf({128, 256}, format, 1).value),
        trained(s.leaf({16, 256}, DType::f32, true, 1)) {}
};

TEST_CASE("forward holds x in bf16, the unpacked weight and y; of these it keeps y alone") {
  QLoraLinear l(kNf4);
  const int64_t before = l.s.ledger.live();
  l.s.ledger.enter(Phase::forward);
  const Tensor y = quantized_linear(l.trained.value, l.weight, {});
  l.s.ledger.leave();
  CHECK(y.dtype() == DType::f32);
  CHECK(l.s.ledger.live() - before == l.kY * 4);
  CHECK(l.s.ledger.peak(Phase::forward).level.bytes - before == 2 * (l.kX + l.kW + l.kY));
}

TEST_CASE("twice quantized scales are unpacked beside it: two fp32 copies") {
  QLoraLinear l(kNf4Dq);
  const int64_t before = l.s.ledger.live();
  l.s.ledger.enter(Phase::forward);
  const Tensor y = quantized_linear(l.trained.value, l.weight, {});
  l.s.ledger.leave();
  CHECK(l.s.ledger.peak(Phase::forward).level.bytes - before ==
        2 * (l.kX + l.kW + l.kY) + 2 * (l.kW / 64) * 4);
}

TEST_CASE("backward unpacks the weight again for the gradient of x") {
  QLoraLinear l(kNf4);
  Tensor y = quantized_linear(l.trained.value, l.weight, {});
  const Tensor loss = sum_last(view(y, {l.kY}));
  y.reset();
  const int64_t before = l.s.ledger.live();
  l.s.ledger.enter(Phase::backward);
  run_backward(l.s, loss);
  l.s.ledger.leave();
  CHECK(l.trained.grad.dtype() == DType::f32);
  // The loss's gradient, y's in bf16, the weight, x's gradient in bf16.
  CHECK(l.s.ledger.peak(Phase::backward).level.bytes - before == 4 + 2 * (l.kY + l.kW + l.kX));
}

TEST_CASE("an int8 layer's input stays through a checkpoint, a 4-bit layer's does not") {
  for (const QuantFormat& format : {kNf4, kInt8}) {
    QLoraLinear l(format);
    Tensor x = mul_scalar(l.trained.value);
    Tensor y = checkpoint(l.s, x, [&l, x] {
      const Tensor inner = mul_scalar(x);
      return quantized_linear(inner, l.weight, {});
    });
    const int64_t before = l.s.ledger.live();
    y.reset();
    const int64_t kept = format.kind == QuantKind::int8 ? l.kX * 4 : 0;
    CHECK(before - l.s.ledger.live() == l.kY * 4 + kept);
  }
}

}  // namespace
}  // namespace memplan::aten
