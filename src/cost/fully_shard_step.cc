#include "cost/fully_shard_step.h"

#include <utility>

namespace memplan {

using aten::Level;
using aten::Tensor;
using Part = fsdp2::ParamBuffers;

namespace {

constexpr std::string_view kEmpty = "aten.empty.memory_format";
constexpr std::string_view kCast = "aten._to_copy.default";
constexpr std::string_view kView = "aten.view.default";

}  // namespace

void FullyShardStep::add_group(std::vector<ShardedParam> params, int64_t copies,
                               std::optional<int64_t> after_forward) {
  std::vector<fsdp2::Parameter> shapes;
  for (const ShardedParam& p : params) shapes.push_back(p.parameter);
  Group group;
  group.buffers = fsdp2::buffers(shapes, job_.strategy, after_forward);
  group.params = std::move(params);
  group.copies = copies;
  groups_.push_back(std::move(group));
}

int64_t FullyShardStep::total(const Group& g, int64_t fsdp2::ParamBuffers::*part) const {
  int64_t sum = 0;
  for (const Part& p : g.buffers.params) sum = checked_add(sum, session_.rounded(p.*part));
  return sum;
}

bool FullyShardStep::accumulates_whole() const {
  return !job_.strategy.fsdp.reduces_each && job_.strategy.micro_batches() > 1;
}

void FullyShardStep::place() {
  const Strategy& s = job_.strategy;
  const bool host = fsdp::offloads(s);
  const auto sum = [](int64_t& to, int64_t own, const Group& g) {
    to = checked_add(to, checked_mul(own, g.copies));
  };
  for (Group& g : groups_) {
    sum(host ? host_weights_ : weights_, total(g, &Part::sharded), g);
    if (host) sum(host_gradients_, g.buffers.gradients, g);
    if (!job_.resizes_seen)
      session_.ledger.add(&Level::unsharded, total(g, &Part::unsharded) * g.copies);
    if (accumulates_whole())
      sum(gradients_, total(g, &Part::accumulated), g);
    else if (s.micro_batches() > 1 && !host)
      sum(gradients_, session_.rounded(g.buffers.gradients), g);
    if (!accumulates_whole() || g.buffers.accumulates_apart) continue;
    for (const ShardedParam& p : g.params) p.leaf->grad_exists = p.parameter.trained;
  }
}

// _get_param_all_gather_inputs: shards that are cast, in one tensor; from the host, one by one.
void FullyShardStep::copy_in(Group& g) {
  const fsdp2::Buffers& b = g.buffers;
  int64_t held = 0;
  if (fsdp::offloads(job_.strategy)) {
    for (const Part& p : b.params) {
      if (g.resharded) break;
      const int64_t copy = session_.rounded(p.sharded), cast = session_.rounded(p.cast);
      take(&Level::gathering, copy, kCast);
      held += copy;
      if (cast == 0) continue;
      take(&Level::gathering, cast, kCast);
      drop(&Level::gathering, copy);
      held += cast - copy;
    }
  } else {
    for (const Part& p : b.params)
      if (p.cast > 0) held = checked_add(held, g.resharded ? p.resharded : p.cast);
    held = session_.rounded(held);
    if (held > 0) take(&Level::gathering, held, kEmpty);
  }
  take(&Level::gathering, session_.rounded(b.gathered), kEmpty);
  drop(&Level::gathering, held);
}

// foreach_all_gather, after FSDPParamGroup.unshard has looked whether it is needed.
void FullyShardStep::gather(Group& g) {
  if (g.gathering || g.unsharded || g.params.empty()) return;
  g.gathering = true;
  if (fsdp::shards(job_.strategy) > 1) copy_in(g);  // else each shard is copied out by itself
}

// FSDPParamGroup.wait_for_unshard on one GPU. `all_gather_input` is rebound once its next is made.
void FullyShardStep::copy_out(Group& g) {
  int64_t input = 0;
  for (const Part& p : g.buffers.params) {
    const bool moved = fsdp::offloads(job_.strategy);
    const int64_t next = session_.rounded(p.cast > 0 ? p.cast : moved ? p.sharded : 0);
    if (next > 0) take(&Level::gathering, next, kCast);
    drop(&Level::gathering, std::exchange(input, next));
    if (job_.resizes_seen)
      take(&Level::unsharded, session_.rounded(p.unsharded), "aten.copy_.default");
  }
  drop(&Level::gathering, input);
  g.unsharded = true;
}

// FSDPParamGroup.wait_for_unshard. The result of the group before, freed there, lives on in that
// function's own variable until it returns.
void FullyShardStep::wait(Group& g, Pass pass) {
  if (!std::exchange(g.gathering, false)) return;
  if (fsdp::shards(job_.strategy) == 1) return copy_out(g);
  const int64_t gathered = session_.rounded(g.buffers.gathered);
  if (job_.resizes_seen) take(&Level::unsharded, total(g, &Part::unsharded), kView);
  session_.ledger.note(kView);
  g.unsharded = true;
  if (std::exchange(g.resharded, false)) drop(&Level::unsharded, total(g, &Part::resharded));
  drop(&Level::gathering, pass == Pass::forward ? std::exchange(held_gather_, gathered) : gathered);
}

void FullyShardStep::free_unsharded(Group& g) {
  if (!std::exchange(g.unsharded, false) || !job_.resizes_seen) return;
  const int64_t copies = session_.ledger.repeating() ? 1 : g.copies;
  drop(&Level::unsharded, total(g, &Part::unsharded) * copies);
}

// FSDPParamGroup.reshard in forward: where some GPUs keep a part each, parameter by parameter.
void FullyShardStep::reshard_after_forward(Group& g) {
  if (g.buffers.whole_after_forward) return;
  if (total(g, &Part::resharded) == 0) return free_unsharded(g);
  g.resharded = true;
  g.unsharded = false;
  for (const Part& p : g.buffers.params) {
    take(&Level::unsharded, session_.rounded(p.resharded), "aten.clone.default");
    if (job_.resizes_seen) drop(&Level::unsharded, session_.rounded(p.unsharded));
  }
}

void FullyShardStep::enter_model() {
  gather(groups_.front());
  wait(groups_.front(), Pass::forward);
}

void FullyShardStep::leave_model(const Tensor& output) {
  Group& root = groups_.front();
  if (!root.params.empty()) {
    reshard_after_forward(root);
    root.order = std::ssize(post_forward_order_);
    post_forward_order_.push_back(0);
  }
  aten::on_gradient(output, [this] {
    session_.backward_callbacks.push_back([this] { finish_backward(); });
    pre_backward(0);
  });
  drop(&Level::gathering, std::exchange(held_gather_, 0));
}

Tensor FullyShardStep::layer(size_t index, Tensor hidden, const Module& forward) {
  // A checkpoint's second forward runs within the group's backward, which has unsharded it.
  if (session_.recomputing) return forward(std::move(hidden));
  Group& g = groups_[index];
  gather(g);
  wait(g, Pass::forward);
  hidden = aten::before_gradient_of(hidden, [this, index] { post_backward(index); });
  Tensor out = forward(std::move(hidden));
  reshard_after_forward(g);
  g.order = std::ssize(post_forward_order_);
  post_forward_order_.push_back(index);
  aten::on_gradient(out, [this, index] { pre_backward(index); });
  return out;
}

void FullyShardStep::pre_backward(size_t index) {
  Group& g = groups_[index];
  gather(g);
  wait(g, Pass::backward);
  if (g.order > 0) gather(groups_[post_forward_order_[static_cast<size_t>(g.order) - 1]]);
}

void FullyShardStep::post_backward(size_t index) {
  Group& g = groups_[index];
  g.done = true;
  std::vector<Tensor> gradients;
  for (const ShardedParam& p : g.params) {
    if (p.leaf->grad) gradients.push_back(std::move(p.leaf->grad));
    p.leaf->grad.reset();
    if (accumulates_whole()) gradients.clear();  // added to those of earlier micro-batches
  }
  free_unsharded(g);
  drop(&Level::reducing, std::exchange(reduce_input_, 0));
  if (g.buffers.reduce_input > 0) reduce(g, std::move(gradients));
}

// foreach_reduce. The last gradient outlives the others in its loop's variable.
void FullyShardStep::reduce(Group& g, std::vector<Tensor> gradients) {
  const fsdp2::Buffers& b = g.buffers;
  const Strategy& s = job_.strategy;
  aten::Ledger& ledger = session_.ledger;
  const bool whole = accumulates_whole();
  reduce_input_ = session_.rounded(b.reduce_input);
  take(&Level::reducing, reduce_input_, kEmpty);

  int64_t last = 0;
  if (whole)
    for (const Part& p : b.params)
      if (p.accumulated > 0) last = session_.rounded(p.accumulated);
  const Tensor variable = gradients.empty() ? Tensor() : gradients.back();
  gradients.clear();
  if (whole) ledger.add(&Level::gradients, last - total(g, &Part::accumulated));

  int64_t out = session_.rounded(b.reduced);
  take(&Level::gradients, out, kEmpty);
  // Added to those that exist, or copied to the host.
  const bool exists = s.micro_batches() > 1 && s.fsdp.reduces_each;
  const bool leaves = exists || fsdp::offloads(s);
  bool kept = b.keeps_reduced && (b.casts_gradients || leaves);
  if (b.casts_gradients) {
    const int64_t cast = session_.rounded(b.gradients);
    take(&Level::gradients, cast, kCast);
    free_reduced(g, std::exchange(kept, false), std::exchange(out, cast));
  }
  if (leaves) free_reduced(g, kept, out);
  drop(&Level::gradients, last);
}

// What is all-reduced is kept by its group until finalize_backward.
void FullyShardStep::free_reduced(const Group& g, bool kept, int64_t bytes) {
  drop(&Level::gradients, bytes);
  if (!kept) return;
  session_.ledger.add(&Level::reducing, bytes);
  all_reduced_ = checked_add(all_reduced_, checked_mul(bytes, g.copies));
}

void FullyShardStep::finish_backward() {
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (!groups_[i].done) post_backward(i);
    // A gather that nobody has waited for: of a layer that nothing flows back through.
    if (std::exchange(groups_[i].gathering, false) && fsdp::shards(job_.strategy) > 1)
      drop(&Level::gathering, session_.rounded(groups_[i].buffers.gathered));
  }
  drop(&Level::reducing, std::exchange(reduce_input_, 0));
  drop(&Level::reducing, std::exchange(all_reduced_, 0));
}

Bytes FullyShardStep::registered() const {
  int64_t sum = 0;
  for (const Group& g : groups_) {
    const auto part = g.unsharded   ? &Part::unsharded
                      : g.resharded ? &Part::resharded
                                    : &Part::sharded;
    sum = checked_add(sum, checked_mul(total(g, part), g.copies));
  }
  return Bytes(sum);
}

Bytes FullyShardStep::registered_gradients() const {
  const Strategy& s = job_.strategy;
  if (s.micro_batches() == 1 || !s.fsdp.reduces_each) return {};
  int64_t sum = 0;
  for (const Group& g : groups_)
    if (!g.unsharded && !g.resharded) sum += session_.rounded(g.buffers.gradients) * g.copies;
  return Bytes(sum);
}

}  // namespace memplan
