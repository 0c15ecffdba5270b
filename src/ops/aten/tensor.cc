#include "ops/aten/tensor.h"

#include <algorithm>

#include "ops/aten/session.h"

namespace memplan::aten {

Shape::Shape(std::span<const int64_t> sizes) : dims(static_cast<int>(sizes.size())) {
  std::copy(sizes.begin(), sizes.end(), at.begin());
}

int64_t Shape::elements() const {
  int64_t out = 1;
  for (int i = 0; i < dims; ++i) out = checked_mul(out, (*this)[i]);
  return out;
}

bool operator==(const Shape& a, const Shape& b) {
  return a.dims == b.dims && std::equal(a.at.begin(), a.at.begin() + a.dims, b.at.begin());
}

Shape contiguous_strides(const Shape& sizes) {
  Shape strides = sizes;
  int64_t step = 1;
  for (int i = sizes.dims - 1; i >= 0; --i) {
    strides[i] = step;
    step = checked_mul(step, std::max<int64_t>(sizes[i], 1));
  }
  return strides;
}

Storage::Storage(Session& owner, int64_t size) : session(&owner), bytes(size) {
  session->ledger.add(session->rounded(bytes));
  session->ledger.await_name(&op);
  stretch = session->stretch;
}

int64_t Storage::counted_bytes() const {
  return session->rounded(bytes) * (session->ledger.repeating() ? 1 : copies);
}

void Storage::release() {
  Ledger& ledger = session->ledger;
  const int64_t all = counted_bytes();
  ledger.free(all);
  if (std::exchange(kept, false)) {
    session->forget_kept(*this);
    ledger.count_kept(-all);
  }
  if (std::exchange(operand, false)) ledger.count_operand(-all);
  if (std::exchange(gradient, false)) ledger.count_gradient(-all);
  bytes = 0;
}

void Storage::restore(int64_t size) {
  bytes = size;
  session->ledger.add(counted_bytes());
}

Storage::~Storage() {
  if (op.empty()) session->ledger.forget_name(&op);
  release();
}

void Storage::mark_kept(const TensorData& as) {
  if (counted || kept || gradient) return;
  kept = true;
  sizes = as.sizes;
  dtype = as.dtype;
  session->add_kept(*this);
  session->ledger.count_kept(counted_bytes());
}

void Storage::mark_operand() {
  if (!kept || operand) return;
  operand = true;
  session->ledger.count_operand(counted_bytes());
}

void Storage::mark_gradient(int64_t equal) {
  copies = equal;
  if (gradient) return;
  gradient = true;
  session->ledger.count_gradient(session->rounded(bytes));
}

int64_t Tensor::bytes() const { return checked_mul(elements(), size_of(dtype())); }

bool Tensor::is_contiguous() const {
  int64_t step = 1;
  for (int i = dims() - 1; i >= 0; --i) {
    if (size(i) != 1 && strides()[i] != step) return false;
    step *= size(i);
  }
  return true;
}

bool Tensor::is_dense() const {
  // Takes the dimensions from the fastest on: each must begin where those before it end.
  std::array<bool, Shape::kMaxDims> taken{};
  int64_t step = 1;
  for (int round = 0; round < dims(); ++round) {
    bool found = false;
    for (int i = 0; i < dims() && !found; ++i) {
      bool& done = taken[static_cast<size_t>(i)];
      if (done || (size(i) != 1 && strides()[i] != step)) continue;
      done = found = true;
      step *= size(i);
    }
    if (!found) return false;
  }
  return true;
}

bool Tensor::strides_match(const Tensor& other) const {
  if (dims() != other.dims()) return false;
  for (int i = 0; i < dims(); ++i)
    if (size(i) != 1 && strides()[i] != other.strides()[i]) return false;
  return true;
}

Tensor Tensor::detach() const {
  Tensor out = alias(*this, sizes(), strides());
  out->view = data_->view;
  return out;
}

Tensor allocate(Session& session, const Shape& sizes, DType dtype) {
  return allocate(session, sizes, contiguous_strides(sizes), dtype);
}

Tensor allocate(Session& session, const Shape& sizes, const Shape& strides, DType dtype) {
  auto* data = new TensorData;
  Tensor out(data);
  data->storage = Ref(new Storage(session, checked_mul(sizes.elements(), size_of(dtype))));
  data->sizes = sizes;
  data->strides = strides;
  data->dtype = dtype;
  return out;
}

Tensor owned_elsewhere(Session& session, const Shape& sizes, DType dtype) {
  auto* data = new TensorData;
  Tensor out(data);
  data->storage = Ref(new Storage(session, 0));
  data->storage->counted = true;
  data->sizes = sizes;
  data->strides = contiguous_strides(sizes);
  data->dtype = dtype;
  return out;
}

Tensor alias(const Tensor& x, const Shape& sizes, const Shape& strides) {
  auto* data = new TensorData;
  Tensor out(data);
  data->storage = x->storage;
  data->view = true;
  data->sizes = sizes;
  data->strides = strides;
  data->dtype = x.dtype();
  return out;
}

}  // namespace memplan::aten
