// Outputs that are dropped and made again, by pencil.
#include "ops/mcore/checkpoint.h"

#include <doctest/doctest.h>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/mcore/linear.h"

namespace memplan {
namespace {

using aten::Phase;
using aten::Session;
using aten::Tensor;

constexpr int64_t kTokens = 128, kH = 256, kStream = kTokens * kH * 2;

struct Step {
  int64_t kept, backward;
  bool has_gradient;
};

// A linear layer up to four times the width, whose output the way down saves. `again` is null: it
// stays.
Step run(mcore::DiscardedOutputs* again) {
  Session session(Backend::cuda, {2, 9, 0});
  const mcore::Group group{.fused_wgrad = true};
  Tensor x = aten::allocate(session, {kTokens, 1, kH}, DType::bf16);
  session.require_grad(x);
  const Tensor up = session.leaf({4 * kH, kH}, DType::bf16, true, 1).value;
  const Tensor down = session.leaf({kH, 4 * kH}, DType::bf16, true, 1).value;
  session.ledger.enter(Phase::forward);
  Tensor out;
  {
    const auto body = [up, group](std::span<const Tensor> in) {
      return std::vector<Tensor>{mcore::column_linear(in[0], up, {}, group)};
    };
    const std::vector<Tensor> inputs{x};
    const Tensor y = (again ? again->run(session, inputs, body) : body(inputs)).front();
    out = mcore::column_linear(y, down, {}, group);
    if (again) again->discard(out);
  }
  Step step{};
  step.kept = session.ledger.level().kept;
  session.ledger.leave();
  const int64_t before = session.ledger.live();
  session.ledger.enter(Phase::backward);
  const Tensor gradient = aten::make(session, "c10d.recv_", out.sizes(), DType::bf16);
  aten::run_backward(session, std::move(out), gradient);
  session.ledger.leave();
  step.backward = session.ledger.peak(Phase::backward).level.bytes - before;
  step.has_gradient = x->leaf->grad && x->leaf->grad.sizes() == x.sizes();
  return step;
}

TEST_CASE("a discarded output is not kept") {
  CHECK(run(nullptr).kept == 5 * kStream);
  mcore::DiscardedOutputs shared(true);
  CHECK(run(&shared).kept == kStream);
}

// Shared, highest at the first layer's own backward: the gradient of all, y and its gradient, x's
// gradient. Copied, at the second layer's: y twice, the gradient of all, y's gradient.
TEST_CASE("made again, it lies once in storages that are shared and twice in copies") {
  mcore::DiscardedOutputs shared(true), copied(false);
  CHECK(run(&shared).backward == (1 + 4 + 4 + 1) * kStream);
  CHECK(run(&copied).backward == (2 * 4 + 1 + 4) * kStream);
}

TEST_CASE("gradients flow through what is made again") {
  mcore::DiscardedOutputs shared(true), copied(false);
  CHECK(run(nullptr).has_gradient);
  CHECK(run(&shared).has_gradient);
  CHECK(run(&copied).has_gradient);
}

}  // namespace
}  // namespace memplan
