#include "lower/huggingface/cast_inputs.h"

#include <algorithm>

namespace memplan::hf {
namespace {

bool floats(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

}  // namespace

Tensor CastInputs::cast(const Tensor& x) const {
  if (!dtype_ || !x || !floats(x.dtype()) || x.dtype() == *dtype_) return {};
  return aten::to(x, *dtype_);
}

CastInputs::CastInputs(Forward& f, std::optional<DType> dtype) : f_(f), dtype_(dtype) {
  for (Tensor* x : {&f.causal_mask, &f.sliding_mask, &f.cos, &f.sin, &f.local_cos, &f.local_sin})
    if (Tensor copy = cast(*x)) originals_.emplace_back(x, std::exchange(*x, std::move(copy)));
  for (Tensor& x : f.shared) {
    casts_.push_back(cast(x));
    shared_.push_back(casts_.back() ? std::exchange(x, casts_.back()) : Tensor());
  }
}

CastInputs::~CastInputs() {
  for (auto& [place, original] : originals_) *place = std::move(original);
  // But for those that the layer has replaced.
  for (size_t i = 0; i < std::min(shared_.size(), f_.shared.size()); ++i)
    if (casts_[i] && f_.shared[i] && f_.shared[i]->storage.get() == casts_[i]->storage.get())
      f_.shared[i] = std::move(shared_[i]);
}

}  // namespace memplan::hf
