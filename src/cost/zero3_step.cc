#include "cost/zero3_step.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "ops/aten/tensor.h"

namespace memplan {

using aten::Level;

namespace {

constexpr std::string_view kEmpty = "aten.empty.memory_format";
constexpr std::string_view kCat = "aten.cat.default";
constexpr std::string_view kCast = "aten._to_copy.default";

std::vector<int64_t> sizes_of(const std::vector<aten::Leaf*>& params) {
  std::vector<int64_t> out;
  for (const aten::Leaf* leaf : params) out.push_back(elements_of(*leaf));
  return out;
}

}  // namespace

struct Zero3Step::Gathered {
  aten::Session* session;
  int64_t bytes;
  std::vector<int> params;
  bool complete = false;
  Gathered(aten::Session& owner, int64_t size, std::span<const int> of)
      : session(&owner), bytes(size), params(of.begin(), of.end()) {
    session->ledger.add(&Level::gathering, bytes);
    session->ledger.note(kEmpty);
  }
  Gathered(const Gathered&) = delete;
  Gathered& operator=(const Gathered&) = delete;
  ~Gathered() { session->ledger.add(&Level::gathering, -bytes); }
};

Zero3Step::Zero3Step(aten::Session& session, const Job& job, std::vector<aten::Leaf*> params,
                     const deepspeed::ModuleTrace* trace)
    : session_(session),
      job_(job),
      trace_(trace),
      coordinator_(job.strategy.deepspeed, sizes_of(params), trace, *this) {
  std::vector<int64_t> partitions;
  for (aten::Leaf* leaf : params) {
    const int64_t elements = elements_of(*leaf);
    const int64_t partition = deepspeed::partition_of(elements, job.strategy.dp);
    index_[leaf] = static_cast<int>(params_.size());
    const size_t i = params_.size();
    params_.push_back({leaf, elements, partition});
    if (!leaf->value.requires_grad()) continue;
    partitions.push_back(partition);
    leaf->on_accumulated = [this, i] { accumulated(i); };
  }
  groups_ = deepspeed::sub_groups(partitions, job.strategy.deepspeed.sub_group_size);
}

int64_t Zero3Step::weight_bytes(int64_t elements) const {
  return session_.rounded(checked_mul(elements, size_of(job_.strategy.precision.weight)));
}

int64_t Zero3Step::trained_partition() const {
  int64_t sum = 0;
  for (const deepspeed::SubGroup& group : groups_)
    sum = checked_add(sum, deepspeed::elements_of(group));
  return sum;
}

// lp_param_buffer: partitions of what is trained, defragmented.
Bytes Zero3Step::weights() const {
  int64_t sum = weight_bytes(trained_partition());
  for (const Param& p : params_)
    if (!p.leaf->value.requires_grad()) sum = checked_add(sum, weight_bytes(p.partition));
  return Bytes(sum);
}

std::vector<StepParam> Zero3Step::stepped() const {
  std::vector<StepParam> out;
  for (const deepspeed::SubGroup& group : groups_)
    out.push_back(flat_parameter(deepspeed::elements_of(group)));
  return out;
}

Bytes Zero3Step::masters() const {
  int64_t sum = 0;
  for (const deepspeed::SubGroup& group : groups_)
    sum = checked_add(
        sum, session_.rounded(checked_mul(deepspeed::elements_of(group), size_of(DType::f32))));
  return Bytes(sum);
}

// _global_grad_norm, fp64 as its parts; inf_or_nan_tracker, a bool.
Bytes Zero3Step::scalars() const {
  return Bytes(session_.rounded(size_of(DType::f64)) + session_.rounded(size_of(DType::boolean)));
}

int64_t Zero3Step::persistent_bytes() const {
  int64_t sum = 0;
  if (job_.strategy.dp > 1)
    for (size_t i = 0; i < params_.size(); ++i)
      if (coordinator_.persists(static_cast<int>(i)))
        sum = checked_add(sum, weight_bytes(checked_mul(params_[i].partition, job_.strategy.dp)));
  return sum;
}

Bytes Zero3Step::place() {
  const Strategy& s = job_.strategy;
  bucket_bytes_ = weight_bytes(s.deepspeed.reduce_bucket_size);
  session_.ledger.add(&Level::reducing, bucket_bytes_);
  // What a module releases is decided when a trace is first followed (__params_to_release is
  // cached): by the very first step's second micro-batch, before which the recording one has
  // released what persists, too.
  const bool again = trace_ != nullptr && s.micro_batches() > 1;
  if (again) {
    coordinator_.replay();
    coordinator_.release_all();
  }
  coordinator_.gather_persistent();
  if (again) coordinator_.replay();
  return Bytes(session_.rounded(checked_mul(trained_partition(), size_of(s.precision.gradient))));
}

void Zero3Step::hold(Param& param, int64_t bytes, std::string_view op) {
  aten::Ref<aten::Storage> storage(new aten::Storage(session_, bytes));
  storage->counted = true;
  param.leaf->value->storage = std::move(storage);
  param.storage = session_.rounded(bytes);
  gathered_ += param.storage;
  session_.ledger.add(&Level::unsharded, param.storage);
  session_.ledger.free(param.storage);  // by the storage itself
  session_.ledger.note(op);
}

// _all_gather_sequential of one parameter, into which it is a view; _all_gather_dtype of several.
void Zero3Step::all_gather(std::span<const int> params) {
  const int64_t world = job_.strategy.dp;
  if (world == 1) return;  // NoGatherHandle: the partition itself
  if (params.size() == 1) {
    Param& p = params_[static_cast<size_t>(params[0])];
    return hold(p, checked_mul(checked_mul(p.partition, world), size_of(p.leaf->value.dtype())),
                kEmpty);
  }
  int64_t partition = 0;
  for (int i : params)
    partition = checked_add(partition, params_[static_cast<size_t>(i)].partition);
  const auto flat =
      std::make_shared<Gathered>(session_, weight_bytes(checked_mul(partition, world)), params);
  for (int i : params) params_[static_cast<size_t>(i)].flat = flat;
}

// AllGatherCoalescedHandle.wait gives all of its parameters tensors of their own; it goes with the
// last of those who wait for it.
void Zero3Step::wait(int param) {
  const std::shared_ptr<Gathered> flat =
      std::exchange(params_[static_cast<size_t>(param)].flat, {});
  if (!flat || std::exchange(flat->complete, true)) return;
  for (int i : flat->params) {
    Param& p = params_[static_cast<size_t>(i)];
    hold(p, p.leaf->value.bytes(), kCat);
  }
}

// free_param. What holds the tensor besides keeps it alive.
void Zero3Step::free(int param) {
  Param& p = params_[static_cast<size_t>(param)];
  const int64_t bytes = std::exchange(p.storage, 0);
  if (bytes == 0) return;
  gathered_ -= bytes;
  session_.ledger.add(&Level::unsharded, -bytes);
  session_.ledger.add(bytes);
  aten::Ref<aten::Storage> none(new aten::Storage(session_, 0));
  none->counted = true;
  p.leaf->value->storage = std::move(none);
}

int Zero3Step::module(const hf::Params& block, std::string_view name,
                      std::span<const aten::Tensor> own) {
  const auto [at, fresh] = modules_.try_emplace({&block, std::string(name)}, 0);
  if (!fresh) return at->second;
  std::vector<int> params;
  for (const aten::Tensor& x : own)
    if (x) params.push_back(index_.at(x->leaf));
  return at->second = coordinator_.add_module(std::move(params));
}

// pre_sub_module_forward_function, then PostBackwardFunctionModule on the argument.
aten::Tensor Zero3Step::enter(const hf::Params& block, std::string_view name,
                              std::span<const aten::Tensor> own, const aten::Tensor& x) {
  if (!std::exchange(began_, true)) coordinator_.reset_step();
  const int m = module(block, name, own);
  coordinator_.fetch(m, true);
  if (!x) return x;
  return aten::before_gradient_of(x, [this, m] { coordinator_.release(m, false); });
}

// post_sub_module_forward_function, then PreBackwardFunctionForModule on the result.
aten::Tensor Zero3Step::leave(const hf::Params& block, std::string_view name,
                              const aten::Tensor& y) {
  const int m = module(block, name, {});
  coordinator_.release(m, true);
  return aten::before_gradient_of(y, [this, m] { coordinator_.fetch(m, false); });
}

// reduce_independent_p_g_buckets_and_remove_grads: a gradient that fits is moved into the bucket, a
// larger one waits where it is.
void Zero3Step::accumulated(size_t param) {
  const int64_t most = job_.strategy.deepspeed.reduce_bucket_size;
  Param& p = params_[param];
  if (filled_ > 0 && filled_ + p.elements > most) reduce_and_partition();
  if (filled_ + p.elements <= most) p.leaf->grad.reset();
  filled_ += p.elements;
  waiting_.push_back(param);
}

// __avg_scatter_grads and reduce_scatter_coalesced: slices of all ranks behind one another, padded;
// partition_grads copies its own.
void Zero3Step::reduce_and_partition() {
  if (waiting_.empty()) return;
  const Strategy& s = job_.strategy;
  aten::Ledger& ledger = session_.ledger;
  const int64_t world = s.dp;
  int64_t flat = 0, padding = 0, own = 0;
  for (size_t i : waiting_) {
    const Param& p = params_[i];
    flat = checked_add(flat, checked_mul(p.partition, world));
    own =
        checked_add(own, session_.rounded(checked_mul(p.partition, size_of(s.precision.gradient))));
    for (int64_t rank = p.elements / p.partition; rank < world; ++rank)
      padding += weight_bytes(p.partition -
                              std::clamp<int64_t>(p.elements - rank * p.partition, 0, p.partition));
  }
  int64_t bytes = 0;
  if (waiting_.size() > 1 || flat != params_[waiting_.front()].elements) {
    bytes = weight_bytes(flat);
    ledger.add(&Level::reducing, padding + bytes);
    ledger.note(kCat);
    ledger.add(&Level::reducing, -padding);
  }
  if (s.precision.gradient != s.precision.weight) {
    ledger.add(&Level::reducing, own);
    ledger.note(kCast);
    ledger.add(&Level::reducing, -own);
  }
  ledger.add(&Level::reducing, -bytes);
  for (size_t i : waiting_) params_[i].leaf->grad.reset();
  waiting_.clear();
  filled_ = 0;
}

// independent_gradient_partition_epilogue, backward_epilogue
void Zero3Step::finish_backward() {
  reduce_and_partition();
  coordinator_.release_leftovers();
}

StepPeak Zero3Step::step_peak(const deepspeed::InnerStep& inner) const {
  return deepspeed::zero3_step(groups_, job_.strategy, gathered_, persistent_bytes(), inner);
}

}  // namespace memplan
