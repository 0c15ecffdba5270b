// fp8 and Userbuffers of Transformer Engine under Megatron-core (core 0.19, Transformer Engine
// 2.16).
#pragma once

#include <vector>

#include "memplan/job.h"
#include "memplan/plan.h"

namespace memplan::megatron {

/// Whether products in fp8 read transposed copies: GPUs before Blackwell multiply rows by rows
/// alone (common/util/cuda_runtime.cpp and recipe/current_scaling,
/// nvte_is_non_tn_fp8_gemm_supported).
bool fp8_transposes(const GpuSpec& gpu);

/// fp8 copies of a weight for each element, which stay from the first forward on: transposes of
/// weights that are fp8 themselves; of others both copies, made of them once a step
/// (pytorch/module/base.py, quantize_weight; is_first_microbatch).
int64_t fp8_copies(const Job& job);

/// Scales and the history of maxima of one linear layer under delayed scaling: of input, weight and
/// output, and of both gradients (pytorch/quantization.py, DelayedScalingRecipeState). As the
/// allocator hands them out.
Bytes fp8_scales(const Strategy& strategy);

/// Bytes that Userbuffers registers outside PyTorch's allocator: one buffer of the sequence for
/// each of twelve products (pytorch/module/base.py, initialize_ub).
Bytes registered_buffers(const Job& job);

/// Workspaces of the products that overlap with them, in PyTorch's allocator: three streams'.
std::vector<LedgerLine> overlap_workspaces(const Job& job, Bytes of_one);

/// Refuses, by name, what fp8 and Userbuffers are not modelled with. Throws Error{not_modelled,
/// bad_input}.
void require_fp8_modelled(const Job& job);

}  // namespace memplan::megatron
