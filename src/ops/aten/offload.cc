#include "ops/aten/offload.h"

#include <algorithm>

#include "ops/aten/session.h"

namespace memplan::aten {

int64_t Offloading::pack(const Tensor& activation) {
  session_ = &activation.session();
  const int64_t id = ++last_id_;
  if (activation.bytes() < kMinOffloadSize || activation->leaf != nullptr) {
    tracker_[id] = {activation.detach(), activation.sizes(), activation.strides(),
                    activation.dtype()};
    activation->storage->mark_kept(*activation.operator->());
    return id;
  }
  fwd_stash_.erase(fwd_stash_.begin(), fwd_stash_.upper_bound(id - kMaxFwdStashSize));
  // Not dense, it is made so on the GPU first (aten/src/ATen/native/cuda/Copy.cu,
  // copy_requires_temporaries).
  const bool dense = activation.is_dense();
  if (!dense && session_->backend == Backend::cuda) {
    const Tensor temporary = allocate(*session_, activation.sizes(), activation.dtype());
    session_->ledger.note("aten.copy_.default");
  }
  tracker_[id] = {{},
                  activation.sizes(),
                  dense ? activation.strides() : contiguous_strides(activation.sizes()),
                  activation.dtype()};
  fwd_stash_[id] = activation.detach();
  return id;
}

Tensor Offloading::unpack(int64_t id) {
  if (const auto again = unpacked_.find(id); again != unpacked_.end()) return again->second;
  const Tracked tracked = std::move(tracker_.at(id));
  tracker_.erase(id);
  if (tracked.resident) return unpacked_[id] = tracked.resident;
  if (!hooked_) {
    hooked_ = true;
    for (const auto& [earlier, tensor] : bwd_stash_) previous_.push_back(earlier);
  }
  if (const auto stashed = fwd_stash_.find(id); stashed != fwd_stash_.end())
    return unpacked_[id] = stashed->second;
  const Tensor back = allocate(*session_, tracked.sizes, tracked.strides, tracked.dtype);
  session_->ledger.note("aten._to_copy.default");
  bwd_stash_[id] = back;
  brought_.push_back(id);
  return unpacked_[id] = back;
}

void Offloading::node_done(const std::vector<Tensor>& outputs) {
  unpacked_.clear();
  if (!hooked_) return;
  // An output that is a view of what was brought back keeps it, in the stash's place.
  for (int64_t id : brought_) {
    const Storage* storage = bwd_stash_.at(id)->storage.get();
    if (std::any_of(outputs.begin(), outputs.end(),
                    [&](const Tensor& x) { return x && x->storage.get() == storage; }))
      bwd_stash_.erase(id);
  }
  fwd_stash_.clear();
  for (int64_t id : previous_) bwd_stash_.erase(id);
  previous_.clear();
  brought_.clear();
  hooked_ = false;
}

}  // namespace memplan::aten
