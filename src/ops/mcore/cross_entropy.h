// Cross-entropy over a vocabulary that is split over the tensor-parallel group
// (Megatron-core core/tensor_parallel/cross_entropy.py, core/fusions/fused_cross_entropy.py, 0.18;
// Transformer Engine pytorch/triton/cross_entropy.py).
#pragma once

#include "memplan/strategy.h"
#include "ops/aten/tensor.h"

namespace memplan::mcore {

/// logits [s, b, V/tp], labels [s, b] -> losses [s, b] in fp32.
aten::Tensor cross_entropy(const aten::Tensor& logits, const aten::Tensor& labels,
                           MegatronSpec::CrossEntropy kind, Version transformer_engine);

}  // namespace memplan::mcore
