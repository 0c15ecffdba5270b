#include "cost/megatron_units.h"

#include <algorithm>
#include <utility>

namespace memplan::megatron {

using aten::Leaf;
using aten::Level;
using aten::Tensor;

namespace {

FsdpParam fsdp_param(const RankParam& p) {
  const int64_t elements = p.sizes.elements();
  return {elements, p.sizes.dims > 1 ? elements / p.sizes[0] : 1};
}

}  // namespace

FsdpUnit fsdp_unit(const Graph& graph, const Job& job) {
  FsdpUnit out;
  for (const RankParam& p : rank_params(graph, job, 1)) {
    std::vector<FsdpParam>& to = p.group == ParamGroup::dense ? out.dense : out.expert;
    to.insert(to.end(), static_cast<size_t>(p.experts), fsdp_param(p));
  }
  return out;
}

std::vector<FsdpBucket> stage_buckets(const Job& job, const Program& program, int64_t stage) {
  FsdpUnit root;
  std::vector<FsdpUnit> layers;
  for (const Run& run : program.stages[static_cast<size_t>(stage)].runs) {
    const Block& block = program.blocks[static_cast<size_t>(run.block)];
    const FsdpUnit unit = fsdp_unit(block.graph, job);
    if (block.part == BlockPart::layer)
      layers.insert(layers.end(), static_cast<size_t>(run.count), unit);
    else
      root.dense.insert(root.dense.end(), unit.dense.begin(), unit.dense.end());
  }
  const Strategy& s = job.strategy;
  return fsdp_buckets(s, root, layers, data_ranks(s, ParamGroup::dense),
                      data_ranks(s, ParamGroup::expert));
}

void FsdpUnits::name(Named& names, const Graph& graph, std::span<Leaf* const> leaves) {
  size_t at = 0;
  for (const RankParam& p : rank_params(graph, job_, 1))
    for (int64_t expert = 0; expert < p.experts; ++expert)
      (p.group == ParamGroup::dense ? names.dense : names.expert).push_back(leaves[at++]);
}

void FsdpUnits::add_root(const Graph& graph, std::span<Leaf* const> leaves) {
  const FsdpUnit unit = fsdp_unit(graph, job_);
  root_.dense.insert(root_.dense.end(), unit.dense.begin(), unit.dense.end());
  name(root_leaves_, graph, leaves);
}

void FsdpUnits::add_layer(const Graph& graph, std::span<Leaf* const> leaves) {
  layers_.push_back(fsdp_unit(graph, job_));
  name(layer_leaves_.emplace_back(), graph, leaves);
}

void FsdpUnits::seal() {
  const Strategy& s = job_.strategy;
  std::vector<Leaf*> leaves = root_leaves_.dense;
  for (const Named& names : layer_leaves_) {
    leaves.insert(leaves.end(), names.dense.begin(), names.dense.end());
    leaves.insert(leaves.end(), names.expert.begin(), names.expert.end());
  }
  const std::vector<FsdpBucket> all = fsdp_buckets(
      s, root_, layers_, data_ranks(s, ParamGroup::dense), data_ranks(s, ParamGroup::expert));
  limits_ = fsdp_limits(s, all, std::ssize(layers_));
  size_t leaf = 0;
  for (const FsdpBucket& b : all) {
    const size_t index = buckets_.size();
    Bucket bucket{bucket_elements(b), gathered_bytes(s, b).count(), reduced_bytes(b).count(),
                  b.params.size()};
    bucket.of_layer = b.of_layer;
    buckets_.push_back(bucket);
    for (size_t i = 0; i < b.params.size(); ++i, ++leaf) {
      if (!bucket.of_layer) root_buckets_.push_back(index);
      Leaf* own = leaves[leaf];
      own->spend.reset();
      own->on_accumulated = [this, index, own] { accumulated(index, *own); };
    }
  }
  size_t at = root_buckets_.empty() ? 0 : root_buckets_.back() + 1;
  for (const FsdpUnit& unit : layers_) {
    const size_t first = at;
    at += (unit.dense.empty() ? 0U : 1U) + (unit.expert.empty() ? 0U : 1U);
    ranges_.push_back({first, at});
  }
}

void FsdpUnits::release(Bucket& bucket) {
  if (std::exchange(bucket.whole, false)) session_.ledger.add(&Level::gathering, -bucket.gathered);
}

// async_bucket_gather: what may go goes before something new comes.
void FsdpUnits::gather_one(Bucket& bucket) {
  bucket.may_go = false;
  if (std::exchange(bucket.whole, true)) return;
  for (Bucket& other : buckets_)
    if (std::exchange(other.may_go, false)) release(other);
  session_.ledger.add(&Level::gathering, bucket.gathered);
  session_.ledger.note("c10d._allgather_base_");
}

// all_gather_params: the next buckets too, until those make up the limit.
void FsdpUnits::gather(Range wanted, Ahead ahead) {
  if (wanted.first == wanted.end) return;
  for (size_t i = wanted.first; i < wanted.end; ++i) buckets_[i].may_go = false;
  int64_t more = 0;
  const auto take = [&](size_t bucket) { more = checked_add(more, buckets_[bucket].elements); };
  if (ahead == Ahead::forward)
    while (wanted.end < buckets_.size() && more < limits_.gathered_ahead) take(wanted.end++);
  else
    while (wanted.first > 0 && more < limits_.gathered_ahead) take(--wanted.first);
  std::vector<size_t> empty;
  for (size_t i = wanted.first; i < wanted.end; ++i)
    if (!buckets_[i].whole) empty.push_back(i);
  for (const size_t i : empty) gather_one(buckets_[i]);
}

void FsdpUnits::root(const Tensor& weight) {
  if (!weight) return;
  for (size_t i = 0; i < root_leaves_.dense.size(); ++i)
    if (root_leaves_.dense[i]->value.operator->() == weight.operator->())
      return gather({root_buckets_[i], root_buckets_[i] + 1}, Ahead::forward);
}

Tensor FsdpUnits::layer(size_t index, Tensor hidden, const Module& forward) {
  const Range own = ranges_[index];
  const auto release_own = [this, own] {
    for (size_t i = own.first; i < own.end; ++i) release(buckets_[i]);
  };
  gather(own, Ahead::forward);
  if (session_.grad_enabled) hidden = aten::before_gradient_of(hidden, release_own);
  Tensor out = forward(std::move(hidden));
  if (session_.grad_enabled) aten::on_gradient(out, [this, own] { gather(own, Ahead::backward); });
  release_own();
  return out;
}

// _root_pre_backward
void FsdpUnits::leave_model(const Tensor& output) {
  if (!session_.grad_enabled) return;
  aten::on_gradient(output, [this] {
    for (Bucket& bucket : buckets_)
      if (bucket.of_layer) bucket.may_go = true;
    session_.backward_callbacks.push_back([this] { finish_backward(); });
  });
}

// _grad_acc and reduce_gradients: a bucket comes with the first gradient and waits in the queue
// once it has all.
void FsdpUnits::accumulated(size_t index, Leaf& leaf) {
  Bucket& bucket = buckets_[index];
  if (!std::exchange(bucket.has_gradients, true)) {
    session_.ledger.add(&Level::reducing, bucket.reduced);
    session_.ledger.note("aten.empty.memory_format");
  }
  leaf.grad.reset();
  if (++bucket.ready < bucket.params) return;
  bucket.ready = 0;
  int64_t waiting = 0;
  for (const size_t i : queue_) waiting = checked_add(waiting, buckets_[i].elements);
  while (waiting > limits_.reducing) {
    Bucket& oldest = buckets_[queue_.front()];
    queue_.pop_front();
    waiting -= oldest.elements;
    oldest.has_gradients = false;
    session_.ledger.add(&Level::reducing, -oldest.reduced);
  }
  queue_.push_back(index);
}

// _root_post_backward, and finish_grad_sync behind a step's last micro-batch.
void FsdpUnits::finish_backward() {
  queue_.clear();
  for (Bucket& bucket : buckets_) {
    if (std::exchange(bucket.has_gradients, false))
      session_.ledger.add(&Level::reducing, -bucket.reduced);
    release(bucket);
    bucket.may_go = false;
  }
}

}  // namespace memplan::megatron
