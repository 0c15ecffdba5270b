#include "ops/aten/autograd.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "memplan/error.h"
#include "ops/aten/offload.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

// Ends a checkpoint's second forward once nothing more is needed of it.
struct StopRecompute {};

constexpr uint64_t kFirst = std::numeric_limits<uint64_t>::max();

Ref<Node> accumulator(Session& session, Leaf& leaf) {
  if (!leaf.accumulate) {
    leaf.accumulate = Ref(new Node);
    leaf.accumulate->session = &session;
    leaf.accumulate->leaf = &leaf;
    leaf.accumulate->sequence = kFirst;
  }
  return leaf.accumulate;
}

void recompute(Session& session, const Ref<CheckpointFrame>& frame) {
  frame->recomputed = true;
  const bool grad = std::exchange(session.grad_enabled, true);
  const auto autocast = std::exchange(session.autocast, frame->autocast);
  const Ref<CheckpointFrame> outer = std::exchange(session.recomputing, frame);
  try {
    frame->again();
  } catch (const StopRecompute&) {
  }
  session.recomputing = outer;
  session.autocast = autocast;
  session.grad_enabled = grad;
  if (frame->autocast) session.leave_autocast();
}

}  // namespace

Saved::Slot::~Slot() {
  if (frame && static_cast<size_t>(index) < frame->tensors.size())
    frame->tensors[static_cast<size_t>(index)].reset();
}

Saved::Saved(const Tensor& x, ReadBy reader) : slot_(new Slot) {
  Session& session = x.session();
  if (session.packing) {
    slot_->frame = session.packing;
    slot_->index = session.packing->saved++;
    return;
  }
  if (session.offloading && session.offloading->active && !session.recomputing) {
    slot_->offloaded = &session;
    slot_->index = session.offloading->pack(x);
    return;
  }
  // A leaf is kept as itself, whatever storage it has later; a second forward keeps a detached one.
  slot_->value = x->leaf && !session.recomputing ? x : x.detach();
  // What is made again was not kept. torch.compile may do without it, so there it counts as such.
  const bool again = session.recomputing || session.running_again;
  if (!again || session.ledger.compiled != 0) x->storage->mark_kept(*x.operator->());
  if (reader == ReadBy::kernel || session.ledger.compiled == 0) x->storage->mark_operand();
  if (session.recomputing) {
    std::vector<Tensor>& tensors = session.recomputing->tensors;
    tensors.push_back(slot_->value);
    const CheckpointFrame& frame = *session.recomputing;
    if (frame.stops_early && std::ssize(tensors) == frame.saved) throw StopRecompute();
  }
}

Tensor Saved::get() const {
  if (slot_->offloaded) return slot_->offloaded->offloading->unpack(slot_->index);
  if (!slot_->frame) return slot_->value;
  CheckpointFrame& frame = *slot_->frame;
  if (!frame.recomputed) {
    Session* session = frame.session;
    recompute(*session, slot_->frame);
  }
  const auto index = static_cast<size_t>(slot_->index);
  frame.session->unpacked.emplace_back(slot_->frame, index);
  return frame.tensors[index];
}

Grads::Grads(std::vector<Tensor> in, Node& node)
    : in_(std::move(in)), out_(node.next.size()), node_(node) {}
bool Grads::wants(int i) const {
  return static_cast<bool>(node_.next[static_cast<size_t>(i)].node);
}
Session& Grads::session() const { return *node_.session; }

bool tracks(std::initializer_list<const Tensor*> inputs) {
  return std::any_of(inputs.begin(), inputs.end(), [](const Tensor* x) { return tracks(*x); });
}
bool tracks(const Tensor& x) { return x && x.requires_grad() && x.session().grad_enabled; }

void record(std::initializer_list<Tensor*> outputs, std::initializer_list<const Tensor*> inputs,
            Backward backward) {
  std::vector<Tensor> out, in;
  for (const Tensor* x : inputs) in.push_back(*x);
  for (Tensor* x : outputs) out.push_back(*x);
  record(out, in, std::move(backward));
}

void record(std::span<Tensor> outputs, std::span<const Tensor> inputs, Backward backward) {
  Session& session = outputs.front().session();
  Ref<Node> node(new Node);
  node->session = &session;
  node->sequence = session.next_sequence++;
  node->stretch = session.stretch;
  node->compiled = session.ledger.compiled;
  node->outputs = static_cast<int>(outputs.size());
  node->backward = std::move(backward);
  for (const Tensor& x : inputs) {
    Edge edge;
    if (x && x.requires_grad()) {
      edge.node = x->grad_fn ? x->grad_fn : x->leaf ? accumulator(session, *x->leaf) : Ref<Node>();
      edge.input = x->output;
      edge.sizes = x.sizes();
      edge.dtype = x.dtype();
    }
    node->next.push_back(std::move(edge));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    outputs[i]->grad_fn = node;
    outputs[i]->output = static_cast<int>(i);
    outputs[i]->requires_grad = true;
  }
}

void hold_on_tape(const Tensor& out, const Tensor& x) {
  Session& session = out.session();
  out->grad_fn->held.push_back(x.detach());
  x->storage->mark_kept(*x.operator->());
  // The tape goes after its stretches, and with it the tensors of all their rounds.
  if (session.stretch > 0)
    x->storage->copies = session.stretch_counts[static_cast<size_t>(session.stretch) - 1];
}

void on_gradient(const Tensor& x, std::function<void()> hook) {
  if (x->grad_fn) x->grad_fn->pre_hooks.push_back(std::move(hook));
}

Tensor before_gradient_of(const Tensor& x, std::function<void()> hook) {
  if (!tracks(x)) return x;
  Tensor out = alias(x, x.sizes(), x.strides());
  record({&out}, {&x}, [hook = std::move(hook)](Grads& grads) {
    hook();
    grads.set(0, grads.in());
  });
  return out;
}

Tensor checkpoint(Session& session, const Tensor& input, std::function<Tensor()> body,
                  Checkpointing how) {
  if (!session.grad_enabled || session.recomputing) return body();
  if (input) {
    input->storage->mark_kept(*input.operator->());
    input->storage->mark_operand();
  }
  Ref<CheckpointFrame> frame(new CheckpointFrame);
  frame->session = &session;
  frame->autocast = session.autocast;
  frame->again = body;
  frame->stops_early = how.stops_early;
  frame->saves = std::move(how.saves);
  const Ref<CheckpointFrame> outer = std::exchange(session.packing, frame);
  Tensor out = body();
  session.packing = outer;
  return out;
}

// CheckpointFunction (torch/utils/checkpoint.py)
Tensor checkpoint_reentrantly(Session& session, const Tensor& x,
                              std::function<Tensor(const Tensor&)> body) {
  const bool tracked = tracks(x);
  Tensor out;
  {
    NoGrad off(session);
    out = body(x);
  }
  if (!tracked) return out;
  const Saved kept(x);
  record({&out}, {&x}, [kept, body = std::move(body), autocast = session.autocast](Grads& g) {
    Session& s = g.session();
    Tensor input = kept.get().detach();
    s.require_grad(input);
    const bool grad = std::exchange(s.grad_enabled, true);
    const auto outer = std::exchange(s.autocast, autocast);
    const Tensor again = body(input);
    s.autocast = outer;
    if (autocast) s.leave_autocast();
    run_backward(s, again, g.in());
    s.grad_enabled = grad;
    g.set(0, std::exchange(input->leaf->grad, {}));
    input->leaf->value.reset();
  });
  return out;
}

}  // namespace memplan::aten
