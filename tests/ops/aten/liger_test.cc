#include "ops/aten/liger.h"

#include <doctest/doctest.h>

namespace memplan::aten {
namespace {

constexpr liger::Device kDevice{.multiprocessors = 108, .compute_major = 8};

struct Bench {
  Session session{Backend::cuda, {2, 14, 1}};

  Leaf& leaf(const Shape& sizes, DType dtype = DType::bf16, bool trainable = true) {
    return session.leaf(sizes, dtype, trainable, 1);
  }
  // What a backward pass adds at most to what lived before it.
  int64_t backward(const Tensor& out) {
    const int64_t before = session.ledger.live();
    session.ledger.enter(Phase::backward);
    run_backward(session, out);
    session.ledger.leave();
    return session.ledger.peak(Phase::backward).level.bytes - before;
  }
};

TEST_CASE("Liger's RMSNorm keeps its input and a reciprocal a row; the gradient overwrites") {
  Bench b;
  const int64_t rows = 64, width = 32;
  Leaf& x = b.leaf({rows, width});
  Leaf& w = b.leaf({width}, DType::f32);
  const int64_t before = b.session.ledger.live();
  Tensor out = liger::rms_norm(x.value, w.value, kDevice);
  const int64_t output = rows * width * 2;
  CHECK(b.session.ledger.live() - before == output + rows * 4);
  // The first gradient, then a row for each multiprocessor and their sum.
  CHECK(b.backward(out) == output + 108 * width * 4 + width * 4);
  CHECK(x.grad.bytes() == output);
}

TEST_CASE("Liger's gated activation writes gradients over what it kept") {
  Bench b;
  Leaf& gate = b.leaf({16, 8});
  Leaf& up = b.leaf({16, 8});
  const Tensor g = mul_scalar(gate.value);
  const Tensor u = mul_scalar(up.value);
  Tensor out = liger::gated(g, u);
  CHECK(out.bytes() == 16 * 8 * 2);
  // The gradient of the output, and the two of mul's inputs, one after the other.
  const int64_t each = 16 * 8 * 2;
  CHECK(b.backward(out) == 3 * each);
}

TEST_CASE("Liger's rotary embedding turns q and k where they lie") {
  Bench b;
  Leaf& x = b.leaf({1, 4, 16});
  const Tensor cos = allocate(b.session, {1, 4, 8}, DType::bf16);
  const Tensor scaled = mul_scalar(x.value);
  Tensor q = transpose(view(scaled, {1, 4, 2, 8}), 1, 2);
  Tensor k = q.detach();
  const int64_t before = b.session.ledger.live();
  liger::rope(q, k, cos, cos);
  CHECK(b.session.ledger.live() == before);
  CHECK(q->storage.get() == scaled->storage.get());
  CHECK(q.requires_grad());
}

TEST_CASE("rows of logits: as many elements as the input has, rounded up to a power of two") {
  CHECK(liger::chunk_rows(4096, 4096, 128256) == 128);  // 4096 / 32
  CHECK(liger::chunk_rows(16384, 4096, 32000) == 2048);
  CHECK(liger::chunk_rows(300, 64, 100) == 256);  // 150
  CHECK(liger::chunk_rows(5, 64, 60) == 5);       // never more than there are
}

TEST_CASE("Liger's fused loss makes both gradients in forward, over one chunk of logits") {
  Bench b;
  const int64_t rows = 64, width = 16, vocabulary = 64;
  Leaf& x = b.leaf({rows, width});
  Leaf& w = b.leaf({vocabulary, width});
  const Tensor labels = allocate(b.session, {rows}, DType::i64);
  const int64_t before = b.session.ledger.live();
  b.session.ledger.enter(Phase::forward);
  Tensor loss = liger::fused_linear_cross_entropy(x.value, w.value, labels, kDevice);
  b.session.ledger.leave();
  const int64_t gradients = (rows + vocabulary) * width * 2;
  CHECK(b.session.ledger.live() - before == gradients + 4);
  // a chunk of 16 rows, the losses, the mask of labels
  CHECK(b.session.ledger.peak(Phase::forward).level.bytes - before ==
        gradients + 16 * vocabulary * 2 + rows * 4 + rows);
  run_backward(b.session, loss);
  CHECK(x.grad);
  CHECK(w.grad);
}

TEST_CASE("a GPU before Ampere adds the head's gradient by a product of its own") {
  Bench b;
  Leaf& x = b.leaf({64, 16});
  Leaf& w = b.leaf({64, 16});
  const Tensor labels = allocate(b.session, {64}, DType::i64);
  const auto peak = [&](int major) {
    b.session.ledger.enter(Phase::forward);
    const int64_t before = b.session.ledger.live();
    liger::fused_linear_cross_entropy(x.value, w.value, labels, {80, major});
    b.session.ledger.leave();
    return b.session.ledger.peak(Phase::forward).level.bytes - before;
  };
  CHECK(peak(7) - peak(8) == 64 * 16 * (2 + 4));  // in 16 bits, then in fp32
}

}  // namespace
}  // namespace memplan::aten
