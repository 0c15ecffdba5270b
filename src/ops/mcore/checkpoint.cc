#include "ops/mcore/checkpoint.h"

#include <utility>

#include "ops/aten/autograd.h"

namespace memplan::mcore {

using aten::Ref;
using aten::Saved;
using aten::Session;
using aten::Storage;
using aten::Tensor;

struct DiscardedOutputs::State {
  Body body;
  std::vector<Saved> saved;
  std::vector<bool> wants_gradient;
  std::vector<Ref<Storage>> outputs;
  std::vector<int64_t> bytes;
  // Of the second run, until its own backward.
  std::vector<Tensor> inputs, made;

  void run_again(Session& session, bool shares) {
    const bool grad = std::exchange(session.grad_enabled, true);
    const bool outer = std::exchange(session.running_again, true);
    for (size_t i = 0; i < saved.size(); ++i) {
      inputs.push_back(saved[i].get().detach());
      if (wants_gradient[i]) session.require_grad(inputs.back());
    }
    made = body(inputs);
    session.running_again = outer;
    session.grad_enabled = grad;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (shares) {
        outputs[i]->share(made[i]->storage);
      } else {
        outputs[i]->restore(bytes[i]);
        session.ledger.note("aten.copy_.default");
      }
    }
    outputs.clear();
  }

  void backward(aten::Grads& g) {
    std::vector<Tensor> gradients;
    for (size_t i = 0; i < made.size(); ++i) gradients.push_back(g.in(static_cast<int>(i)));
    aten::run_backward(g.session(), made, gradients);
    made.clear();
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!wants_gradient[i]) continue;
      g.set(static_cast<int>(i), std::exchange(inputs[i]->leaf->grad, {}));
      inputs[i]->leaf->value.reset();
    }
    inputs.clear();
    saved.clear();
  }
};

std::vector<Tensor> DiscardedOutputs::run(Session& session, std::vector<Tensor> inputs, Body body) {
  bool tracked = false;
  for (const Tensor& x : inputs) tracked = tracked || aten::tracks(x);
  // Within another checkpoint nothing is kept that could be dropped.
  if (!tracked || session.packing || session.recomputing) return body(inputs);
  std::vector<Tensor> out;
  {
    const aten::NoGrad off(session);
    out = body(inputs);
  }
  state_ = std::make_shared<State>();
  for (const Tensor& x : inputs) {
    state_->saved.emplace_back(x);
    state_->wants_gradient.push_back(x.requires_grad());
  }
  for (const Tensor& x : out) {
    state_->outputs.push_back(x->storage);
    state_->bytes.push_back(x->storage->bytes);
  }
  state_->body = std::move(body);
  aten::record(std::span(out), std::span<const Tensor>(inputs),
               [state = state_](aten::Grads& g) { state->backward(g); });
  return out;
}

void DiscardedOutputs::discard(const Tensor& result) {
  if (!state_) return;
  for (const Ref<Storage>& storage : state_->outputs) storage->release();
  aten::on_gradient(result, [state = std::move(state_), shares = shares_,
                             &session = result.session()] { state->run_again(session, shares); });
}

}  // namespace memplan::mcore
