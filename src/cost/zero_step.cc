#include "cost/zero_step.h"

#include <utility>

#include "ops/aten/tensor.h"

namespace memplan {

using aten::Level;

namespace {

std::vector<int64_t> sizes_of(const std::vector<aten::Leaf*>& params) {
  std::vector<int64_t> out;
  for (const aten::Leaf* leaf : params) out.push_back(elements_of(*leaf));
  return out;
}

}  // namespace

ZeroStep::ZeroStep(aten::Session& session, const Job& job, std::vector<aten::Leaf*> params)
    : session_(session),
      job_(job),
      frozen_(bytes_apart(session, params, false)),
      params_(trained_of(params)),
      group_(sizes_of(params_), job.strategy.dp) {
  for (size_t i = 0; i < params_.size(); ++i)
    params_[i]->on_accumulated = [this, i] { accumulated(i); };
}

// Trained parameters are views of one tensor.
Bytes ZeroStep::weights() const { return Bytes(frozen_ + gradient_bytes(group_.padded())); }

Bytes ZeroStep::masters() const {
  return Bytes(session_.rounded(checked_mul(group_.partition(), size_of(DType::f32))));
}

// _global_grad_norm
Bytes ZeroStep::scalars() const { return Bytes(session_.rounded(size_of(DType::f32))); }

std::vector<StepParam> ZeroStep::stepped() const { return {flat_parameter(group_.partition())}; }

StepPeak ZeroStep::step_peak(const deepspeed::InnerStep& inner) const {
  return deepspeed::step_peak(group_, job_.data_rank, deepspeed::bit16(job_.strategy),
                              inner(stepped()));
}

int64_t ZeroStep::gradient_bytes(int64_t elements) const {
  return session_.rounded(checked_mul(elements, size_of(deepspeed::bit16(job_.strategy))));
}

bool ZeroStep::in_backward() const {
  return job_.strategy.zero == 2 || job_.strategy.deepspeed.overlap_comm.value_or(false);
}

// Stage 2 adds up what its partition touches (all_grad_tensors), stage 1 whole gradients.
Bytes ZeroStep::place() {
  const Strategy& s = job_.strategy;
  if (s.micro_batches() == 1) return {};
  if (s.zero == 2) return Bytes(gradient_bytes(group_.touched(job_.data_rank)));
  make_buckets();
  int64_t sum = 0;
  for (size_t i = 0; i < params_.size(); ++i) {
    params_[i]->grad_exists = true;
    sum = checked_add(sum, gradient_bytes(group_.elements(i)));
  }
  return Bytes(sum);
}

// setup_buckets: kept until a micro-batch has been reduced.
void ZeroStep::make_buckets() {
  const DeepSpeed& d = job_.strategy.deepspeed;
  if (buckets_ > 0) return;
  const int64_t bucket = gradient_bytes(d.reduce_bucket_size);
  for (int i = 0; i < (d.overlap_comm.value_or(false) ? 2 : 1); ++i) {
    session_.ledger.add(&Level::reducing, bucket);
    session_.ledger.note("aten.empty.memory_format");
    buckets_ += bucket;
  }
}

// process_gradients
void ZeroStep::accumulated(size_t param) {
  make_buckets();
  if (in_backward()) reduce(param);
}

void ZeroStep::drop_gradient(size_t param) {
  aten::Leaf& leaf = *params_[param];
  leaf.grad.reset();
  if (std::exchange(leaf.grad_exists, false))
    session_.ledger.add(&Level::gradients, -gradient_bytes(group_.elements(param)));
}

// A gradient that is larger than the bucket waits where it is.
void ZeroStep::reduce(size_t param) {
  const int64_t bucket = job_.strategy.deepspeed.reduce_bucket_size;
  const int64_t elements = group_.elements(param);
  if (filled_ + elements > bucket) flush();
  if (elements <= bucket) drop_gradient(param);
  filled_ += elements;
  waiting_.push_back(param);
}

// Slices of one rank that follow one another are one; several are copied behind one another.
void ZeroStep::average() {
  const int64_t bucket = job_.strategy.deepspeed.reduce_bucket_size;
  const auto all_reduce = [&](int slices, int64_t elements) {
    if (slices < 2) return;
    const int64_t bytes = gradient_bytes(elements);
    session_.ledger.add(&Level::reducing, bytes);
    session_.ledger.note("aten.cat.default");
    session_.ledger.add(&Level::reducing, -bytes);
  };
  struct Slice {
    int64_t rank, elements;
  };
  std::vector<Slice> slices;
  for (size_t param : waiting_)
    for (auto [rank, last] = group_.owners(param); rank <= last; ++rank) {
      const int64_t own = group_.within(param, rank);
      if (!slices.empty() && slices.back().rank == rank)
        slices.back().elements += own;
      else
        slices.push_back({rank, own});
    }
  int count = 0;
  int64_t elements = 0;
  for (const Slice& slice : slices) {
    ++count;
    elements += slice.elements;
    if (elements <= bucket) continue;
    all_reduce(std::exchange(count, 0), std::exchange(elements, 0));
  }
  all_reduce(count, elements);
}

// copy_grads_in_partition: whole gradients of the parameters that the partition touches.
void ZeroStep::flush() {
  average();
  for (size_t param : waiting_) {
    const bool own = group_.within(param, job_.data_rank) > 0;
    if (own && held_ == 0) {
      held_ = gradient_bytes(group_.touched(job_.data_rank));
      session_.ledger.add(&Level::gradients, held_);
      session_.ledger.note("aten.empty.memory_format");
    }
    if (own || job_.strategy.zero == 2) drop_gradient(param);
  }
  waiting_.clear();
  filled_ = 0;
}

// reduce_gradients, independent_gradient_partition_epilogue
void ZeroStep::finish_backward() {
  if (!in_backward())
    for (size_t i = 0; i < params_.size(); ++i)
      if (params_[i]->reached) reduce(i);
  if (!waiting_.empty()) flush();
  // Added to those of earlier micro-batches.
  const Strategy& s = job_.strategy;
  if (s.zero == 2 && s.micro_batches() > 1)
    session_.ledger.add(&Level::gradients, -std::exchange(held_, 0));
  session_.ledger.add(&Level::reducing, -std::exchange(buckets_, 0));
  for (size_t i = 0; i < params_.size(); ++i) drop_gradient(i);
}

}  // namespace memplan
