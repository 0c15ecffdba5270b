#include "cost/flat_parameter_step.h"

#include <utility>

#include "memplan/error.h"

namespace memplan {

using aten::Level;
using aten::Tensor;

namespace {

constexpr std::string_view kCast = "aten._to_copy.default";
constexpr std::string_view kCopy = "aten.copy_.default";

}  // namespace

FlatParameterStep::FlatParameterStep(aten::Session& session, const Job& job)
    : ShardedStep(session, job), whole_(fsdp1::is_whole(job.strategy)) {}

int64_t FlatParameterStep::bytes(int64_t elements, DType dtype) const {
  return session_.rounded(checked_mul(elements, size_of(dtype)));
}

bool FlatParameterStep::resharded_after_forward() const {
  return job_.strategy.fsdp.sharding == Fsdp::Sharding::full_shard && !whole_;
}

bool FlatParameterStep::accumulates_whole() const {
  return !job_.strategy.fsdp.reduces_each && job_.strategy.micro_batches() > 1;
}

bool FlatParameterStep::skips_sharded_views() const {
  return job_.strategy.fsdp.use_orig_params && !whole_ && !resharded_after_forward();
}

void FlatParameterStep::add_group(std::vector<ShardedParam> params, int64_t,
                                  std::optional<int64_t>) {
  const Strategy& s = job_.strategy;
  Unit u;
  std::vector<int64_t> elements;
  for (const ShardedParam& p : params) {
    elements.push_back(p.parameter.elements());
    if (p.parameter.stored != params.front().parameter.stored)
      throw Error(ErrorKind::not_modelled, "--precision",
                  "FullyShardedDataParallel flattens parameters of one dtype",
                  "use --framework fsdp2");
  }
  if (!params.empty()) u.stored = params.front().parameter.stored;
  u.compute = fsdp::compute_dtype(s, u.stored);
  u.reduced = s.fsdp.reduce_dtype.value_or(u.compute);
  u.flat = fsdp1::flatten(elements, s, u.compute);
  u.params = std::move(params);
  units_.push_back(std::move(u));
}

void FlatParameterStep::place() {
  const bool host = fsdp::offloads(job_.strategy);
  // clip_grad_norm_ keeps _zero_scalar.
  if (job_.strategy.clip_gradients) session_.ledger.add(bytes(1, DType::f32));
  for (Unit& u : units_) {
    const int64_t shard = bytes(u.flat.shard, u.stored);
    (host ? host_weights_ : weights_) += shard;
    if (host) host_gradients_ += shard;
    if (accumulates_whole())
      gradients_ += bytes(u.flat.total, u.compute);
    else if (job_.strategy.micro_batches() > 1)
      gradients_ += shard;
    // _should_free_in_backward: kept for the next forward where nothing is reduced.
    if (!accumulates_whole() || whole_ || resharded_after_forward()) continue;
    u.unsharded = true;
    const int64_t kept = bytes(u.flat.padded, u.compute);
    session_.ledger.add(&Level::unsharded, kept);
    kept_whole_ += kept;
  }
}

// FlatParamHandle.pre_unshard, unshard and post_unshard.
void FlatParameterStep::unshard(Unit& u) {
  const bool host = fsdp::offloads(job_.strategy);
  const int64_t low = casts(u) ? bytes(u.flat.shard, u.compute) : 0;  // _mp_shard
  if (whole_) {  // which is the unsharded parameter then, until it is resharded
    if (low > 0 && !std::exchange(u.unsharded, true)) take(&Level::unsharded, low, kCopy);
    return;
  }
  if (u.unsharded && !host) return;
  take(&Level::gathering, low, kCopy);
  const int64_t moved = host ? bytes(u.flat.shard, u.stored) : 0;
  if (moved > 0) take(&Level::gathering, moved, kCast);
  if (low > 0) drop(&Level::gathering, moved);
  if (!std::exchange(u.unsharded, true))
    take(&Level::unsharded, bytes(u.flat.padded, u.compute), kCopy);
  drop(&Level::gathering, low > 0 ? low : moved);
}

void FlatParameterStep::reshard(Unit& u, bool frees) {
  u.prefetched = false;
  if (!frees && !whole_) return;
  if (!std::exchange(u.unsharded, false)) return;
  drop(&Level::unsharded, bytes(whole_ ? u.flat.shard : u.flat.padded, u.compute));
}

void FlatParameterStep::prefetch(size_t index) {
  if (index >= units_.size() || units_[index].prefetched) return;
  unshard(units_[index]);
  units_[index].prefetched = true;
}

// get_handle_to_backward_prefetch
void FlatParameterStep::prefetch_before(const Unit& u) {
  if (u.order <= 0) return;
  const size_t before = post_forward_order_[static_cast<size_t>(u.order) - 1];
  if (units_[before].needed_in_backward) prefetch(before);
}

void FlatParameterStep::enter_model() {
  unshard(units_.front());
  if (job_.strategy.fsdp.forward_prefetch) prefetch(1);
}

void FlatParameterStep::leave_model(const Tensor& output) {
  Unit& root = units_.front();
  reshard(root, false);
  root.order = std::ssize(post_forward_order_);
  root.needed_in_backward = true;
  post_forward_order_.push_back(0);
  aten::on_gradient(output, [this] {
    session_.backward_callbacks.push_back([this] { finish_backward(); });
    pre_backward(0);
  });
}

// A flat parameter is split by a node that was made when it was unsharded: what has been computed
// since then goes backward first. One that the layer before has prefetched is joined after that.
Tensor FlatParameterStep::layer(size_t index, Tensor hidden, const Module& forward) {
  if (index >= units_.size()) return forward(std::move(hidden));
  Unit& u = units_[index];
  if (!u.prefetched) unshard(u);
  const bool ahead = job_.strategy.fsdp.forward_prefetch;
  if (ahead) prefetch(index + 1);
  const size_t joined = index + (ahead ? 1 : 0);
  Tensor out = forward(aten::before_gradient_of(hidden, [this, joined] {
    if (joined < units_.size()) post_backward(units_[joined]);
  }));
  reshard(u, resharded_after_forward());
  u.order = std::ssize(post_forward_order_);
  u.needed_in_backward = true;
  post_forward_order_.push_back(index);
  aten::on_gradient(out, [this, index] { pre_backward(index); });
  return out;
}

void FlatParameterStep::pre_backward(size_t index) {
  Unit& u = units_[index];
  if (!u.prefetched) unshard(u);
  u.needed_in_backward = false;
  if (job_.strategy.fsdp.backward_prefetch == Fsdp::Prefetch::pre) prefetch_before(u);
}

// SplitWithSizesBackward, and AccumulateGrad where micro-batches have left gradients. Bytes of the
// whole gradient.
int64_t FlatParameterStep::join_gradients(Unit& u) {
  int64_t zeros = 0;
  for (const int64_t elements : u.flat.padding) zeros += bytes(elements, u.compute);
  if (zeros > 0) take(&Level::gradients, zeros, "aten.zeros.default");
  int64_t gradient = bytes(u.flat.total, u.compute);
  take(&Level::gradients, gradient, "aten.cat.default");
  for (const ShardedParam& p : u.params) p.leaf->grad.reset();
  drop(&Level::gradients, zeros);
  const Strategy& s = job_.strategy;
  if (s.micro_batches() == 1 || (s.fsdp.reduces_each && !whole_)) return gradient;
  const int64_t sum = bytes(u.flat.total, s.fsdp.reduces_each ? u.stored : u.compute);
  if (session_.watched) {
    take(&Level::gradients, sum, "aten.add.Tensor");
    drop(&Level::gradients, sum);
  } else {
    session_.ledger.note("aten.add_.Tensor");
  }
  drop(&Level::gradients, gradient);
  return sum;
}

// _post_backward_hook
void FlatParameterStep::post_backward(Unit& u) {
  bool any = false;
  for (const ShardedParam& p : u.params) any = any || p.leaf->grad;
  if (!any || std::exchange(u.done, true)) return;
  const int64_t gradient = join_gradients(u);
  reshard(u, true);
  if (job_.strategy.fsdp.backward_prefetch == Fsdp::Prefetch::post) prefetch_before(u);
  if (whole_)
    reduce_whole(u, gradient);
  else
    reduce(u, gradient);
}

// _reduce_grad, _accumulate_sharded_grad
void FlatParameterStep::reduce(Unit& u, int64_t gradient) {
  const Strategy& s = job_.strategy;
  const int64_t cast = u.reduced != u.compute ? bytes(u.flat.total, u.reduced) : 0;
  if (cast > 0) take(&Level::reducing, cast, kCast);
  const int64_t padded = u.flat.padded > u.flat.total ? bytes(u.flat.padded, u.reduced) : 0;
  if (padded > 0) take(&Level::reducing, padded, "aten.constant_pad_nd.default");
  int64_t out = bytes(u.flat.shard, u.reduced);
  take(&Level::gradients, out, "aten.empty_like.default");
  if (u.reduced != u.stored) {
    const int64_t own = bytes(u.flat.shard, u.stored);
    take(&Level::gradients, own, kCast);
    drop(&Level::gradients, std::exchange(out, own));
  }
  if (s.micro_batches() > 1 && s.fsdp.reduces_each) {
    session_.ledger.note("aten.add_.Tensor");
    drop(&Level::gradients, out);
  } else if (fsdp::offloads(s)) {  // _saved_grad_shard, until prepare_gradient_for_optim
    offloaded_ += out;
  }
  drop(&Level::reducing, cast + padded);
  drop(&Level::gradients, gradient);
}

// _reduce_grad_no_shard: the gradient itself is all-reduced, and cast once more where its dtype
// differs. What the hook was called with lives until it returns.
void FlatParameterStep::reduce_whole(Unit& u, int64_t gradient) {
  const Strategy& s = job_.strategy;
  const bool summed = s.micro_batches() > 1 && s.fsdp.reduces_each;
  int64_t last = gradient;
  DType dtype = summed ? u.stored : u.compute;
  bool changed = false;
  for (const DType next : {u.reduced, u.stored}) {
    if (next == dtype) continue;
    const int64_t own = bytes(u.flat.total, next);
    take(&Level::gradients, own, kCast);
    if (changed) drop(&Level::gradients, last);
    changed = true;
    last = own;
    dtype = next;
  }
  if (changed) drop(&Level::gradients, gradient);
}

// _post_backward_final_callback
void FlatParameterStep::finish_backward() {
  for (size_t i = units_.size(); i-- > 0;) post_backward(units_[i]);
  for (Unit& u : units_) reshard(u, true);
  drop(&Level::gradients, std::exchange(offloaded_, 0));
}

Bytes FlatParameterStep::registered() const {
  if (fsdp::offloads(job_.strategy)) return {};
  if (!skips_sharded_views()) return weights();
  int64_t sum = 0;
  for (const Unit& u : units_) sum = checked_add(sum, bytes(u.flat.padded, u.compute));
  return Bytes(sum);
}

Bytes FlatParameterStep::registered_gradients() const {
  return skips_sharded_views() ? Bytes() : gradients();
}

Bytes FlatParameterStep::left_by_step() const {
  const Strategy& s = job_.strategy;
  return s.fsdp.use_orig_params && !fsdp::offloads(s) ? weights() : Bytes();
}

// Flat shards, or with use_orig_params what of each parameter lies in the rank's.
std::vector<StepParam> FlatParameterStep::stepped() const {
  const int64_t rank = job_.data_rank % fsdp::shards(job_.strategy);
  std::vector<StepParam> out;
  for (const Unit& u : units_) {
    const int run = static_cast<int>(&u - units_.data());
    const auto add = [&](int64_t elements) {
      if (elements > 0) out.push_back({{elements}, 1, u.stored, 1, run, 0, true});
    };
    if (!job_.strategy.fsdp.use_orig_params) {
      add(u.flat.shard);
      continue;
    }
    for (size_t i = 0; i < u.params.size(); ++i) add(u.flat.within(i, rank));
  }
  return out;
}

}  // namespace memplan
