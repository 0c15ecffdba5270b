// Mixture of experts: router, dispatch, experts, combine.
#pragma once

#include <string>

#include "ops/graph.h"

namespace memplan {

/// An expert is down(act(gate)·up), or down(act(up)).
struct Experts {
  std::string router;  ///< "mlp.gate": weight [experts, width]
  bool router_bias = false;
  std::string experts;                                       ///< "mlp.experts"
  std::string gate_up = "gate_up_proj", down = "down_proj";  ///< tensors of all experts in one
  int64_t width = 0, ffn = 0, count = 0, per_token = 0;
  bool gated = true;
  bool bias = false;        ///< gate_up_bias / down_bias ([E, 2f], [E, h])
  bool transposed = false;  ///< [E, h, 2f] instead of [E, 2f, h]
  std::string_view activation = "silu";
};

/// x: [stream tokens, width], already normalised. Of the rank of the expert-parallel group that
/// receives OpContext::expert_imbalance times as many token copies as it sends. Keeps the router's
/// softmax (fp32), the permuted copies, and each expert's activations; two all-to-alls forward, two
/// backward. Returns [stream tokens, width].
TensorId experts(Graph& g, TensorId x, const Experts& spec);

}  // namespace memplan
