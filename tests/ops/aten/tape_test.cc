// The symbolic PyTorch: what lives when, by pencil.
#include <doctest/doctest.h>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/aten/session.h"

namespace memplan::aten {
namespace {

constexpr int64_t kFloat = 4;

Tensor input(Session& s, const Shape& sizes) { return allocate(s, sizes, DType::f32); }

TEST_CASE("a storage lives as long as its last handle or saved reference") {
  Session s(Backend::cuda, {2, 14, 1});
  Tensor x = input(s, {8, 16});
  CHECK(s.ledger.live() == 8 * 16 * kFloat);
  Tensor view_of_x = view(x, {16, 8});
  x.reset();
  CHECK(s.ledger.live() == 8 * 16 * kFloat);
  view_of_x.reset();
  CHECK(s.ledger.live() == 0);
}

TEST_CASE("silu keeps its input, tanh its result, add nothing") {
  Session s(Backend::cuda, {2, 14, 1});
  Leaf& weight = s.leaf({64, 64}, DType::f32, true, 1);
  const int64_t one = 64 * 64 * kFloat;
  Tensor x = add(weight.value, weight.value);
  Tensor y = activation(x, "silu");
  x.reset();
  CHECK(s.ledger.live() == 3 * one);  // weight, x for silu's backward, y
  Tensor z = tanh(y);
  y.reset();
  CHECK(s.ledger.live() == 3 * one);  // y is gone: tanh keeps z
  Tensor sum = add_scalar(z);
  z.reset();
  CHECK(s.ledger.live() == 4 * one);
  sum.reset();
  CHECK(s.ledger.live() == one);  // the tape goes with its last tensor
}

TEST_CASE("a linear layer's weight gradient is stolen, not copied, and its input is freed") {
  Session s(Backend::cuda, {2, 14, 1});
  Leaf& weight = s.leaf({32, 16}, DType::f32, true, 1);
  Tensor x = input(s, {8, 16});
  Tensor y = linear(x, weight.value, {});
  Tensor loss = sum_last(view(y, {8 * 32}));
  y.reset();
  x.reset();
  CHECK(s.ledger.live() == (32 * 16 + 8 * 16 + 1) * kFloat);  // weight, its input, loss
  s.ledger.enter(Phase::backward);
  run_backward(s, loss);
  s.ledger.leave();
  loss.reset();
  CHECK(s.ledger.live() == 2 * 32 * 16 * kFloat);
  CHECK(weight.grad.sizes() == Shape{32, 16});
  CHECK(s.ledger.peak(Phase::backward).at == "aten.mm.default");
}

TEST_CASE("a gradient that two operators give is summed: in place, or anew where a mode watches") {
  for (const bool watched : {false, true}) {
    Session s(Backend::cuda, {2, 14, 1});
    s.watched = watched;
    Leaf& weight = s.leaf({128}, DType::f32, true, 1);
    Tensor x = mul_scalar(weight.value);
    Tensor a = mul_scalar(x), b = mul_scalar(x);
    Tensor sum = add(a, b);
    const Tensor loss = sum_last(sum);
    for (Tensor* t : {&x, &a, &b, &sum}) t->reset();
    s.ledger.enter(Phase::backward);
    run_backward(s, loss);
    s.ledger.leave();
    // weight, loss and its gradient; two gradients of x, and their sum where it is new
    const int64_t held = 128 * kFloat + 2 * kFloat;
    CHECK(s.ledger.peak(Phase::backward).level.bytes == held + (watched ? 3 : 2) * 128 * kFloat);
  }
}

TEST_CASE("a checkpoint keeps its input alone and runs forward again") {
  Session s(Backend::cuda, {2, 14, 1});
  Leaf& weight = s.leaf({64}, DType::f32, true, 1);
  Tensor x = mul_scalar(weight.value);
  int runs = 0;
  Tensor y = checkpoint(s, x, [&runs, x] {
    ++runs;
    Tensor a = activation(x, "silu");
    Tensor b = activation(a, "gelu");
    return activation(b, "silu");
  });
  const Tensor loss = sum_last(y);
  x.reset();
  y.reset();
  CHECK(s.ledger.live() == 2 * 64 * kFloat + kFloat);  // weight, x, loss
  s.ledger.enter(Phase::backward);
  run_backward(s, loss);
  CHECK(runs == 2);
  CHECK(weight.grad.elements() == 64);
  CHECK(s.ledger.live() == 2 * 64 * kFloat + kFloat);  // weight, its gradient, loss
}

TEST_CASE("autocast copies a trained fp32 weight once and an input each time") {
  Session s(Backend::cuda, {2, 14, 1});
  Leaf& weight = s.leaf({16, 16}, DType::f32, true, 1);
  Tensor x = input(s, {4, 16});
  s.autocast = DType::bf16;
  const int64_t before = s.ledger.live();
  Tensor a = linear(x, weight.value, {});
  CHECK(s.ledger.live() - before == 2 * (16 * 16 + 4 * 16 + 4 * 16));
  Tensor b = linear(x, weight.value, {});
  CHECK(s.ledger.live() - before == 2 * (16 * 16 + 2 * (4 * 16 + 4 * 16)));
  a.reset();
  b.reset();
  CHECK(s.ledger.live() - before == 2 * 16 * 16);
  s.leave_autocast();
  CHECK(s.ledger.live() == before);
}

TEST_CASE(
    "strides: pointwise operators keep the order of dimensions, reshape copies where it must") {
  Session s(Backend::cuda, {2, 14, 1});
  const Tensor x = input(s, {2, 5, 3, 4});
  const Tensor heads = transpose(x, 1, 2);  // [2, 3, 5, 4], laid out (2, 5, 3, 4)
  const Tensor y = mul_scalar(heads);
  CHECK(y.strides() == heads.strides());
  CHECK(viewable(transpose(y, 1, 2), {2, 5, 12}));
  CHECK_FALSE(viewable(y, {2, 3, 20}));
  const int64_t before = s.ledger.live();
  const Tensor flat = reshape(y, {6, 20});
  CHECK(s.ledger.live() - before == 2 * 5 * 3 * 4 * kFloat);
  // A broadcast operand does not decide: cos is [1, 1, 5, 4].
  const Tensor cos = input(s, {1, 1, 5, 4});
  CHECK(mul(heads, cos).strides() == heads.strides());
}

TEST_CASE("layer norm's statistics: fp32 on CUDA, the parameters' type on the CPU") {
  for (const Backend backend : {Backend::cuda, Backend::cpu}) {
    Session s(backend, {2, 14, 1});
    Leaf& w = s.leaf({16}, DType::bf16, true, 1);
    Leaf& b = s.leaf({16}, DType::bf16, true, 1);
    const Tensor x = allocate(s, {8, 16}, DType::bf16);
    const int64_t before = s.ledger.live();
    const Tensor y = layer_norm(x, w.value, b.value);
    const int64_t stats = backend == Backend::cuda ? 4 : 2;
    CHECK(s.ledger.live() - before == 8 * 16 * 2 + 2 * 8 * stats);
  }
}

TEST_CASE("a stretch stands for many rounds") {
  Ledger ledger;
  ledger.enter(Phase::forward);
  ledger.begin_repeat(10);
  ledger.add(7);  // transient
  ledger.add(3);
  ledger.note("op");
  ledger.free(7);
  ledger.end_repeat();
  ledger.leave();
  CHECK(ledger.live() == 30);
  CHECK(ledger.peak(Phase::forward).level.bytes == 9 * 3 + 10);
  ledger.enter(Phase::backward);
  ledger.begin_repeat(10);
  ledger.add(5);
  ledger.note("first round");
  ledger.free(8);
  ledger.end_repeat();
  ledger.leave();
  CHECK(ledger.live() == 0);
  CHECK(ledger.peak(Phase::backward).level.bytes == 35);
}

TEST_CASE("cross-entropy in backward: logits, log-probabilities and two gradients: 14·N·V bytes") {
  Session s(Backend::cuda, {2, 14, 1});
  const int64_t n = 64, v = 1000;
  Leaf& logits = s.leaf({n, v}, DType::bf16, true, 1);
  const Tensor labels = allocate(s, {n}, DType::i64);
  Tensor wide = to(logits.value, DType::f32);
  Tensor loss = cross_entropy(wide, labels);
  wide.reset();
  s.ledger.enter(Phase::backward);
  run_backward(s, loss);
  s.ledger.leave();
  const int64_t small = n * 8 + 4 * 4;  // labels; loss, total weight, the root's gradient, rounding
  CHECK(s.ledger.peak(Phase::backward).level.bytes - 14 * n * v <= small);
  CHECK(s.ledger.peak(Phase::backward).level.bytes >= 14 * n * v);
  CHECK(s.ledger.peak(Phase::backward).at == "aten._log_softmax_backward_data.default");
}

}  // namespace
}  // namespace memplan::aten
