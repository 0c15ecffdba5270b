// FSDP2's cast_forward_inputs: what a module is given, in the dtype of its parameters.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "lower/huggingface/module.h"

namespace memplan::hf {

/// While it lives, a layer's floating-point arguments are copies in `dtype`, where they are of
/// another (torch/distributed/fsdp/_fully_shard/_fsdp_state.py _cast_forward_inputs, 2.14).
class CastInputs {
 public:
  CastInputs(Forward& f, std::optional<DType> dtype);
  ~CastInputs();
  CastInputs(const CastInputs&) = delete;
  CastInputs& operator=(const CastInputs&) = delete;

 private:
  /// The copy, or nothing where none is needed.
  Tensor cast(const Tensor& x) const;

  Forward& f_;
  std::optional<DType> dtype_;
  std::vector<std::pair<Tensor*, Tensor>> originals_;
  std::vector<Tensor> shared_, casts_;  ///< of Forward::shared, empty where nothing is cast
};

}  // namespace memplan::hf
