// Unsloth's fused linear cross-entropy (unsloth_zoo 2026.10.9, fused_losses/fused_linear.py): one
// operator of torch.library around Triton kernels, which makes the gradients in forward. What it
// allocates inside is noted by ATen's names; a Triton kernel allocates nothing.
#pragma once

#include <optional>

#include "ops/aten/ops.h"

namespace memplan::aten::unsloth {

/// What the operator asks of the GPU.
struct Device {
  /// Bytes for tensors on it, as long as no optimizer state and no gradient is there; empty: more
  /// than enough.
  std::optional<int64_t> capacity = {};
  bool small = false;     ///< of at most 24.5 GiB in all
  int compute_major = 8;  ///< below 8, no tiles
};

/// Bytes of one chunk of logits: 2 GiB, or half of what is free on the GPU when the operator first
/// runs, if that is less (_budget_bytes).
int64_t chunk_budget(std::optional<int64_t> free);

/// Rows of logits at a time, of [rows, vocabulary] that are made from [rows, width]
/// (fused_linear_rows).
int64_t chunk_rows(int64_t rows, int64_t width, int64_t vocabulary, int64_t budget);

/// Rows and columns of logits at a time where the head is frozen (_tiled_layout).
struct Tile {
  int64_t rows, columns;
};
Tile tile(int64_t rows, int64_t vocabulary, int64_t budget, bool small_gpu);

/// x [N, h], weight [V, h], targets [N] int64, of which `kept` count. -> []
Tensor fused_linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets,
                                  int64_t kept, const Device& device);

}  // namespace memplan::aten::unsloth
