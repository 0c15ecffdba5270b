// PyTorch's engine, which runs the tape backwards.
#include <algorithm>
#include <utility>

#include "memplan/error.h"
#include "ops/aten/autograd.h"
#include "ops/aten/offload.h"
#include "ops/aten/ops.h"

namespace memplan::aten {
namespace {

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

// One backward pass.
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

}  // namespace memplan::aten
