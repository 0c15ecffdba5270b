// The kernels of a Mamba-2 mixer as Megatron-core calls them: what their autograd functions keep
// and what forward and backward allocate.
//
// mamba_ssm/ops/triton/{ssd_combined,ssd_chunk_state,ssd_state_passing,ssd_bmm,ssd_chunk_scan,
// layernorm_gated}.py, 2.3; causal_conv1d/cpp_functions.py, 1.6. Sizes are those of one rank.
#pragma once

#include "ops/aten/tensor.h"

namespace memplan::mcore {

using aten::Tensor;

struct StateSpace {
  int64_t heads = 1, head_dim = 1, groups = 1, state = 1;
  int64_t chunk = 128;          ///< tokens that are worked on as one matrix
  int64_t multiprocessors = 1;  ///< of the GPU: rows of partial sums

  int64_t width() const { return heads * head_dim; }
  int64_t channels() const { return width() + 2 * groups * state; }
};

/// conv1d [channels, 1, taps] and its bias, dt_bias, A_log and D [heads].
struct ScanWeights {
  Tensor convolution, convolution_bias, step, decay, skip;
};

/// mamba_split_conv1d_scan_combined without a norm or a projection of its own: z, x, B, C and dt
/// [b, s, 2·width + 2·groups·state + heads] -> [b, s, width]. Keeps its input and the output before
/// the gate; backward runs the convolution and the states of the chunks again.
Tensor conv_scan(const Tensor& zxbcdt, const ScanWeights& weights, const StateSpace& space);

/// RMSNormGated without a gate, over each group of channels: [.., width] -> the same.
Tensor gated_norm(const Tensor& x, const Tensor& weight, const StateSpace& space);

}  // namespace memplan::mcore
