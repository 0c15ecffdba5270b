#include "cost/whole_step.h"

#include <algorithm>
#include <utility>

#include "ops/aten/tensor.h"

namespace memplan {

using aten::Level;
using deepspeed::Wrapper;

namespace {

// engine.py, MEMORY_OPT_ALLREDUCE_SIZE: elements after which a bucket is full.
constexpr int64_t kAllReduceSize = 500'000'000;

std::vector<int64_t> sizes_of(const std::vector<aten::Leaf*>& params) {
  std::vector<int64_t> out;
  for (const aten::Leaf* leaf : params) out.push_back(elements_of(*leaf));
  return out;
}

}  // namespace

WholeStep::WholeStep(aten::Session& session, const Job& job, std::vector<aten::Leaf*> params)
    : session_(session),
      job_(job),
      wrapper_(deepspeed::wrapper(job.strategy)),
      params_(std::move(params)),
      trained_(trained_of(params_)),
      group_(sizes_of(trained_), job.strategy.dp) {}

int64_t WholeStep::gradient_bytes(const aten::Leaf& leaf) const {
  return session_.rounded(leaf.value.bytes());
}

Bytes WholeStep::weights() const {
  const int64_t width = size_of(job_.strategy.precision.weight);
  const int64_t frozen = bytes_apart(session_, params_, false);
  switch (wrapper_) {
    case Wrapper::fused:
      return Bytes(frozen + session_.rounded(checked_mul(group_.elements(), width)));
    case Wrapper::bf16:
      return Bytes(frozen + session_.rounded(checked_mul(group_.padded(), width)));
    default:
      return Bytes(frozen + bytes_apart(session_, params_, true));
  }
}

std::vector<StepParam> WholeStep::stepped() const {
  if (wrapper_ == Wrapper::fused) return {flat_parameter(group_.elements())};
  if (wrapper_ == Wrapper::bf16) return {flat_parameter(group_.partition())};
  std::vector<StepParam> out;
  for (const aten::Leaf* leaf : trained_) {
    StepParam param;
    param.dims = leaf->value.dims();
    std::copy_n(leaf->value.sizes().at.begin(), param.dims, param.shape.begin());
    out.push_back(param);
  }
  return out;
}

Bytes WholeStep::masters() const {
  if (wrapper_ == Wrapper::plain) return {};
  int64_t sum = 0;
  for (const StepParam& param : stepped()) {
    int64_t elements = 1;
    for (int i = 0; i < param.dims; ++i)
      elements = checked_mul(elements, param.shape[static_cast<size_t>(i)]);
    sum = checked_add(sum, session_.rounded(checked_mul(elements, size_of(param.dtype))));
  }
  return Bytes(sum);
}

// BF16_Optimizer's _global_grad_norm; the others' is a number of the host's.
Bytes WholeStep::scalars() const {
  return Bytes(wrapper_ == Wrapper::bf16 ? session_.rounded(size_of(DType::f32)) : 0);
}

// BF16_Optimizer links them after the first step.
bool WholeStep::makes_states_beforehand() const {
  return wrapper_ == Wrapper::fused || wrapper_ == Wrapper::unfused;
}

// BF16_Optimizer zeroes the parameters' own before each backward and adds them to a flat tensor
// that always lives.
Bytes WholeStep::place() {
  int64_t sum = 0;
  if (wrapper_ == Wrapper::bf16)
    sum = session_.rounded(checked_mul(group_.padded(), size_of(job_.strategy.precision.gradient)));
  if (job_.strategy.micro_batches() > 1)
    for (aten::Leaf* leaf : trained_) {
      leaf->grad_exists = true;
      sum = checked_add(sum, gradient_bytes(*leaf));
    }
  return Bytes(sum);
}

// allreduce_no_retain, allreduce_bucket; _get_gradients_for_reduction makes zeros of those that no
// gradient has reached.
void WholeStep::reduce_each() {
  for (aten::Leaf* leaf : trained_)
    if (!leaf->reached && !leaf->grad_exists)
      session_.ledger.add(&Level::gradients, gradient_bytes(*leaf));
  int64_t elements = 0;
  int tensors = 0;
  const auto flush = [&] {
    const int64_t bytes = session_.rounded(
        checked_mul(std::exchange(elements, 0), size_of(job_.strategy.precision.weight)));
    if (std::exchange(tensors, 0) < 2) return;  // one alone is flat already
    session_.ledger.add(&Level::reducing, bytes);
    session_.ledger.note("aten.cat.default");
    session_.ledger.add(&Level::reducing, -bytes);
  };
  for (const aten::Leaf* leaf : trained_) {
    elements = checked_add(elements, elements_of(*leaf));
    ++tensors;
    if (elements > kAllReduceSize) flush();
  }
  flush();
}

// _update_hp_grad; communication_data_type is bf16.
void WholeStep::reduce_flat() {
  const auto cast = [&](int64_t elements, DType dtype) {
    const int64_t bytes = session_.rounded(checked_mul(elements, size_of(dtype)));
    session_.ledger.add(&Level::reducing, bytes);
    session_.ledger.note("aten._to_copy.default");
    session_.ledger.add(&Level::reducing, -bytes);
  };
  for (const aten::Leaf* leaf : trained_)
    if (leaf->reached) cast(elements_of(*leaf), job_.strategy.precision.gradient);
  cast(group_.padded(), job_.strategy.precision.weight);
}

void WholeStep::finish_backward() {
  if (wrapper_ == Wrapper::bf16)
    reduce_flat();
  else
    reduce_each();
}

StepPeak WholeStep::step_peak(const deepspeed::InnerStep& inner_step) const {
  const StepPeak inner = inner_step(stepped());
  const DType gradient = job_.strategy.precision.weight;
  if (wrapper_ == Wrapper::unfused) return deepspeed::unfused_step(group_, gradient, inner);
  if (wrapper_ == Wrapper::fused) return deepspeed::fused_step(group_, gradient, inner);
  return inner;
}

}  // namespace memplan
