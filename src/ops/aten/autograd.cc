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

// at::sum_to: leading dimensions go, the others keep size 1.
Tensor sum_to(const Tensor& grad, const Shape& sizes) {
  const int lead = grad.dims() - sizes.dims;
  Shape kept = grad.sizes();
  for (int i = 0; i < kept.dims; ++i)
    if (i < lead || sizes[i - lead] == 1) kept[i] = 1;
  Tensor out = allocate(grad.session(), kept, grad.dtype());
  grad.session().ledger.note("aten.sum.dim_IntList");
  return lead == 0 ? out : alias(out, sizes, contiguous_strides(sizes));
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

/// One backward pass.
class Engine {
 public:
  Engine(Session& session, bool retain_graph) : session_(session), retain_graph_(retain_graph) {}

  void run(std::span<const Tensor> tensors, std::span<const Tensor> gradients) {
    const bool grad = std::exchange(session_.grad_enabled, false);
    std::vector<Ref<Node>> roots;
    std::vector<Tensor> starts;  // Engine::execute holds them to the end.
    for (const Tensor& x : tensors) {
      roots.push_back(x->grad_fn);
      if (!x->grad_fn->seen) count(x->grad_fn.get());
    }
    for (Node* node : reached_) node->buffer.resize(static_cast<size_t>(node->outputs));
    for (size_t i = 0; i < tensors.size(); ++i) {
      const Tensor& x = tensors[i];
      starts.push_back(gradients[i]
                           ? to(gradients[i], x.dtype())
                           : make(session_, "aten.ones_like.default", x.sizes(), x.dtype()));
      roots[i]->buffer[static_cast<size_t>(x->output)] = starts.back();
    }
    for (const Ref<Node>& root : roots)
      if (root->waiting == 0 && std::find(ready_.begin(), ready_.end(), root.get()) == ready_.end())
        push(root.get());
    while (!ready_.empty()) {
      std::pop_heap(ready_.begin(), ready_.end(), later);
      Node* node = ready_.back();
      ready_.pop_back();
      if (node->leaf == nullptr) {
        enter_region(node->compiled);
        enter_stretch(node->stretch);
      }
      evaluate(*node);
    }
    enter_region(0);
    enter_stretch(0);
    spend_pending();
    if (session_.offloading) session_.offloading->finish();
    for (const auto& callback : std::exchange(session_.backward_callbacks, {})) callback();
    for (Node* node : reached_) {
      node->seen = false;
      node->waiting = 0;
    }
    session_.grad_enabled = grad;
  }

 private:
  static bool later(const Node* a, const Node* b) { return a->sequence < b->sequence; }

  void count(Node* root) {
    std::vector<Node*> stack{root};
    root->seen = true;
    while (!stack.empty()) {
      Node* node = stack.back();
      stack.pop_back();
      reached_.push_back(node);
      for (const Edge& edge : node->next) {
        if (!edge.node) continue;
        ++edge.node->waiting;
        if (!std::exchange(edge.node->seen, true)) stack.push_back(edge.node.get());
      }
    }
  }

  void push(Node* node) {
    ready_.push_back(node);
    std::push_heap(ready_.begin(), ready_.end(), later);
  }

  void enter_stretch(int stretch) {
    if (stretch == stretch_) return;
    if (stretch_ > 0) session_.ledger.end_repeat();
    stretch_ = stretch;
    if (stretch > 0)
      session_.ledger.begin_repeat(session_.stretch_counts[static_cast<size_t>(stretch) - 1]);
  }

  // A compiled region gives its gradients all at once: their hooks run behind it.
  void enter_region(int region) {
    if (region == session_.ledger.compiled) return;
    session_.ledger.compiled = 0;
    for (Leaf* leaf : std::exchange(deferred_, {})) spend(*leaf);
    session_.ledger.compiled = region;
  }

  void evaluate(Node& node) {
    std::vector<Tensor> outputs;
    {
      std::vector<Tensor> inputs = std::move(node.buffer);
      node.buffer.clear();
      if (node.leaf != nullptr) return accumulate_grad(*node.leaf, std::move(inputs.front()));
      for (const auto& hook : node.pre_hooks) hook();
      Grads grads(std::move(inputs), node);
      node.backward(grads);
      for (const auto& [frame, index] : session_.unpacked) frame->tensors[index].reset();
      session_.unpacked.clear();
      for (size_t i = 0; i < grads.out_.size(); ++i) match(grads.out_[i], node.next[i]);
      if (session_.offloading) session_.offloading->node_done(grads.out_);
      outputs = std::move(grads.out_);
    }
    if (!retain_graph_) node.backward = nullptr;  // what it saved is gone
    for (size_t i = 0; i < outputs.size(); ++i) {
      const Edge& edge = node.next[i];
      if (!edge.node) continue;
      if (outputs[i])
        add(edge.node->buffer[static_cast<size_t>(edge.input)], std::move(outputs[i]));
      if (--edge.node->waiting == 0) push(edge.node.get());
    }
  }

  // validate_outputs
  void match(Tensor& grad, const Edge& edge) {
    if (!grad || !edge.node) return;
    if (!(grad.sizes() == edge.sizes)) grad = sum_to(grad, edge.sizes);
    if (grad.dtype() != edge.dtype) grad = to(grad, edge.dtype);
  }

  // InputBuffer::add: in place where nothing else can see it. A view's base can: autograd notes it
  // in backward too (torch/csrc/autograd/VariableTypeUtils.h, as_view).
  void add(Tensor& held, Tensor grad) {
    if (!held) {
      held = std::move(grad);
      return;
    }
    if (!session_.watched && !held->view && held->refs == 1 && held->storage->refs == 1 &&
        held.is_dense()) {
      session_.ledger.note("aten.add_.Tensor");
      return;
    }
    held = pointwise("aten.add.Tensor", {&held, &grad}, held.dtype());
  }

  void accumulate_grad(Leaf& leaf, Tensor grad) {
    if (!grad) return;
    if (leaf.spend && leaf.spend->when == Spend::When::next) spend_pending();
    leaf.reached = true;
    if (leaf.grad || leaf.grad_exists) {
      session_.ledger.note("aten.add_.Tensor");
      if (leaf.on_accumulated) leaf.on_accumulated();
      return;
    }
    if (leaf.in_bucket) return;
    if (!leaf.value || (grad->refs == 1 && grad.strides_match(leaf.value))) {
      leaf.grad = std::move(grad);
    } else {
      leaf.grad = allocate(session_, leaf.value.sizes(), leaf.value.strides(), leaf.value.dtype());
      session_.ledger.note("aten.new_empty_strided.default");
    }
    if (!leaf.spend) {
      leaf.grad->storage->mark_gradient(leaf.copies);
      if (leaf.on_accumulated) leaf.on_accumulated();
      return;
    }
    // Of equal layers each spends its own before the next has one.
    leaf.grad->storage->mark_gradient(1);
    if (leaf.spend->when == Spend::When::accumulated) {
      if (session_.ledger.compiled != 0) return deferred_.push_back(&leaf);
      return spend(leaf);
    }
    pending_ = &leaf;
  }

  void spend(Leaf& leaf) {
    session_.ledger.add(leaf.spend->transient);
    session_.ledger.note(leaf.spend->at);
    session_.ledger.free(leaf.spend->transient);
    leaf.grad.reset();
  }

  void spend_pending() {
    if (Leaf* leaf = std::exchange(pending_, nullptr)) spend(*leaf);
  }

  Session& session_;
  bool retain_graph_;
  std::vector<Node*> ready_, reached_;
  std::vector<Leaf*> deferred_;
  Leaf* pending_ = nullptr;  // its gradient waits for the next one
  int stretch_ = 0;
};

void run_backward(Session& session, Tensor loss, const Tensor& gradient, bool retain_graph) {
  if (!loss->grad_fn)
    throw Error(ErrorKind::bad_input, "--framework", "nothing that the loss depends on is trained",
                "train some parameters, or use --forward-only with --framework textbook");
  Engine(session, retain_graph).run(std::span(&loss, 1), std::span(&gradient, 1));
}

void run_backward(Session& session, std::span<const Tensor> tensors,
                  std::span<const Tensor> gradients) {
  std::vector<Tensor> reached, given;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!gradients[i] || !tensors[i]->grad_fn) continue;
    reached.push_back(tensors[i]);
    given.push_back(gradients[i]);
  }
  if (!reached.empty()) Engine(session, false).run(reached, given);
}

// torch/utils/checkpoint.py: _CachingTorchDispatchMode, _CachedTorchDispatchMode
std::vector<Tensor> checkpointed_results(Session& session, std::string_view op,
                                         const std::function<std::vector<Tensor>()>& run) {
  if (session.recomputing && session.recomputing->saves) {
    CheckpointFrame& frame = *session.recomputing;
    std::vector<Tensor> kept = std::move(frame.results[frame.next_result++]);
    return kept.empty() ? run() : kept;
  }
  std::vector<Tensor> out = run();
  if (!session.packing || !session.packing->saves) return out;
  std::vector<Tensor>& kept = session.packing->results.emplace_back();
  if (!session.packing->saves(op)) return out;
  for (const Tensor& x : out) {
    kept.push_back(x ? x.detach() : Tensor());
    if (!x) continue;
    x->storage->mark_kept(*x.operator->());
    x->storage->mark_operand();
  }
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
