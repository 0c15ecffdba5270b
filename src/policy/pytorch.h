// Frameworks `pytorch` and `huggingface`: DistributedDataParallel around an eager model.
#pragma once

#include <string>
#include <vector>

#include "memplan/job.h"
#include "memplan/units.h"

namespace memplan::pytorch {

/// DistributedDataParallel's buckets for trained parameters of this many bytes: flat copies of all
/// gradients, made once whatever their number (torch/csrc/distributed/c10d/reducer.cpp,
/// initialize_buckets). Nothing where there is no DDP.
Bytes bucket_bytes(const Strategy& strategy, Bytes trained);

/// Whether a gradient is a view of its bucket (gradient_as_bucket_view).
bool gradient_in_bucket(const Strategy& strategy);

/// Whether torch.compile makes transformers give attention a mask, and repeat keys and values,
/// where eagerly it does neither: while it is traced it does not look whether a mask is needed
/// (transformers 5.12, masking_utils.py _ignore_causal_mask_sdpa, sdpa_attention.py
/// use_gqa_in_sdpa).
bool compiled_with_mask(const Strategy& strategy);

/// Host tensors that importing peft leaves behind (tuners/loha/layer.py: two torch.tensor(1)): seen
/// where the CPU's tensors are counted, nothing on CUDA.
Bytes import_leftovers(const Job& job);

/// cuBLAS's workspace of one handle on this GPU (aten/src/ATen/cuda/CublasHandlePool.cpp, 2.14).
Bytes cublas_workspace(const GpuSpec& gpu, Version torch);

/// major · 10 + minor of the GPU; where it is unknown, 80: that of the oldest GPU with bf16.
int compute_capability(const GpuSpec& gpu);

/// Refuses, by name, what an eager PyTorch job of one model replica a GPU does not do, or what of
/// it is not modelled. Throws Error{not_modelled, bad_input}.
void require_modelled(const Job& job);
bool is_eager(Framework framework);

std::vector<std::string> not_modelled(const Job& job);
std::vector<std::string> assumptions(const Job& job);

}  // namespace memplan::pytorch
