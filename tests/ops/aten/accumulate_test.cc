// Where a tensor's gradients meet.
#include <doctest/doctest.h>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

// What backward adds at most, to gradients that exist.
int64_t transient(Session& session, const Tensor& out) {
  const int64_t before = session.ledger.live();
  session.ledger.enter(Phase::backward);
  run_backward(session, out);
  session.ledger.leave();
  return session.ledger.peak(Phase::backward).level.bytes - before;
}

TEST_CASE("a gradient is added in place, unless it is a view, whose base autograd knows") {
  constexpr int64_t kBytes = 64 * 32 * 4;
  const auto of_two_uses = [](bool views) {
    Session session(Backend::cuda, {2, 14, 1});
    Leaf& x = session.leaf({64, 32}, DType::f32, true, 1);
    const auto use = [&] {
      const Tensor scaled = mul_scalar(views ? view(x.value, {32, 64}) : x.value);
      return views ? view(scaled, {64, 32}) : scaled;
    };
    const Tensor first = use();
    const Tensor second = use();
    return transient(session, add(first, second));
  };
  // The gradient of the sum, those of both uses; of views, their sum too.
  CHECK(of_two_uses(false) == 3 * kBytes);
  CHECK(of_two_uses(true) == 4 * kBytes);
}

TEST_CASE("a gradient that is given is cast, and held to the end") {
  Session session(Backend::cuda, {2, 14, 1});
  Leaf& x = session.leaf({64, 32}, DType::f32, true, 1);
  const Tensor given = allocate(session, {64, 32}, DType::bf16);
  const Tensor once = mul_scalar(x.value);
  const Tensor twice = mul_scalar(once);
  const int64_t before = session.ledger.live();
  session.ledger.enter(Phase::backward);
  run_backward(session, twice, given);
  session.ledger.leave();
  // the cast and two products
  CHECK(session.ledger.peak(Phase::backward).level.bytes - before == 3 * 64 * 32 * 4);
}

TEST_CASE("retain_graph keeps what operators saved") {
  Session session(Backend::cuda, {2, 14, 1});
  Leaf& x = session.leaf({64, 32}, DType::f32, true, 1);
  const auto left = [&](bool retain) {
    const int64_t before = session.ledger.live();
    const Tensor out = [&] {
      const Tensor inner = mul_scalar(x.value);
      return pow_scalar(inner);  // keeps `inner`
    }();
    run_backward(session, out, {}, retain);
    const int64_t after = session.ledger.live() - before;
    return after;
  };
  left(false);  // makes the gradient
  CHECK(left(true) - left(false) == 64 * 32 * 4);
}

}  // namespace
}  // namespace memplan::aten
