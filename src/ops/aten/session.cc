#include "ops/aten/session.h"

#include <algorithm>

#include "ops/aten/autograd.h"
#include "ops/aten/offload.h"
#include "ops/aten/ops.h"

namespace memplan::aten {

Session::Session(Backend where, Version version) : backend(where), torch(version) {}

Session::~Session() { cast_cache_.clear(); }

Leaf& Session::add_leaf(Tensor value, int64_t copies) {
  leaves_.push_back(std::make_unique<Leaf>());
  Leaf& leaf = *leaves_.back();
  leaf.copies = copies;
  leaf.value = std::move(value);
  leaf.value->storage->copies = copies;
  leaf.value->storage->counted = true;
  ledger.add(checked_mul(rounded(leaf.value->storage->bytes), copies - 1));
  leaf.value->leaf = &leaf;
  return leaf;
}

Leaf& Session::leaf(const Shape& sizes, DType dtype, bool trainable, int64_t copies) {
  Leaf& leaf = add_leaf(allocate(*this, sizes, dtype), copies);
  leaf.value->requires_grad = trainable;
  return leaf;
}

Leaf& Session::unsharded_leaf(const Shape& sizes, DType dtype, bool trainable, int64_t copies) {
  Leaf& leaf = add_leaf(owned_elsewhere(*this, sizes, dtype), copies);
  leaf.value->requires_grad = trainable;
  return leaf;
}

Leaf& Session::quantized_leaf(const Shape& sizes, const QuantFormat& format, int64_t copies) {
  auto* data = new TensorData;
  Tensor value(data);
  int64_t bytes = 0;
  const std::vector<int64_t> parts = quantized_storages(format, sizes);
  for (size_t i = format.sharded ? 1 : 0; i < parts.size(); ++i)
    bytes = checked_add(bytes, rounded(parts[i]));
  data->storage = Ref(new Storage(*this, bytes));
  data->sizes = sizes;
  data->strides = contiguous_strides(sizes);
  data->dtype = format.loaded;
  Leaf& leaf = add_leaf(std::move(value), copies);
  leaf.quantized = format;
  return leaf;
}

void Session::require_grad(Tensor& x) {
  required_.push_back(std::make_unique<Leaf>());
  x->requires_grad = true;
  x->leaf = required_.back().get();
  // The tape holds the tensor itself. One that a checkpoint makes again is on none that runs.
  if (!recomputing) x->leaf->value = x;
}

void Session::add_kept(Storage& storage) {
  storage.among_kept = kept_.size();
  kept_.push_back(&storage);
}

void Session::forget_kept(const Storage& storage) {
  kept_.back()->among_kept = storage.among_kept;
  kept_[storage.among_kept] = kept_.back();
  kept_.pop_back();
}

std::vector<KeptTensors> Session::kept_tensors() const {
  std::vector<KeptTensors> out;
  for (const Storage* s : kept_) {
    const int64_t rounds =
        s->stretch > 0 ? stretch_counts[static_cast<size_t>(s->stretch) - 1] : s->copies;
    const KeptTensors one{s->op, s->sizes, s->dtype, rounded(s->bytes), rounds};
    const auto known = std::find_if(out.begin(), out.end(), [&](const KeptTensors& k) {
      return k.op == one.op && k.sizes == one.sizes && k.dtype == one.dtype && k.bytes == one.bytes;
    });
    if (known == out.end())
      out.push_back(one);
    else
      known->count += rounds;
  }
  std::stable_sort(out.begin(), out.end(), [](const KeptTensors& a, const KeptTensors& b) {
    return a.bytes * a.count > b.bytes * b.count;
  });
  return out;
}

void Session::repeat(int64_t count, const std::function<void()>& body) {
  if (count <= 1) return body();
  stretch_counts.push_back(count);
  stretch = static_cast<int>(stretch_counts.size());
  ledger.begin_repeat(count);
  body();
  ledger.end_repeat();
  stretch = 0;
}

Tensor Session::cast_for_autocast(const Tensor& x) {
  if (!autocast || x.dtype() == *autocast || x.dtype() == DType::i64 ||
      x.dtype() == DType::boolean || x.dtype() == DType::f64)
    return x;
  const bool cached = x.dtype() == DType::f32 && x->leaf != nullptr && x.requires_grad();
  if (!cached) return to(x, *autocast);
  const auto found = std::find_if(cast_cache_.begin(), cast_cache_.end(),
                                  [&](const auto& row) { return row.first == x->leaf; });
  if (found != cast_cache_.end()) return found->second;
  Tensor cast = to(x, *autocast);
  cast->storage->copies = x->leaf->copies;
  cast_cache_.emplace_back(x->leaf, cast);
  return cast;
}

}  // namespace memplan::aten
