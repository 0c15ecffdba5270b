// Linear layers, their tensor-parallel cuts, and LoRA beside them.
#pragma once

#include <string>

#include "ops/graph.h"

namespace memplan {

/// y = x·Wᵀ + bias. Keeps x where W is trained (derivatives.yaml: linear).
/// Parameters NAME.weight [out, in] ([in, out] where `transposed`, as GPT-2's Conv1D) and
/// NAME.bias. PEFT whose targets match NAME adds its own here; see ops/peft.h.
struct Linear {
  std::string name;
  int64_t in = 0, out = 0;  ///< whole model
  bool bias = false;
  Cut cut =
      Cut::replicated;    ///< dim0: column-parallel (out is cut), dim1: row-parallel (in is cut)
  int64_t parts = 0;      ///< parts of the cut; 0: tp. Fewer where kv heads < tp
  int64_t part_size = 0;  ///< column-parallel outputs of one rank, where not an equal share
  bool transposed = false;
  bool module = true;                         ///< false: a bare weight, which no adapter can name
  std::string_view role = {};                 ///< as PeftModule::role
  std::array<int64_t, 3> fused = {};          ///< as PeftModule::fused
  std::string_view output = "linear output";  ///< name of y, static text
};
/// x: [tokens, in or in/parts]. Returns [tokens, out or out/parts].
TensorId linear(Graph& g, TensorId x, const Linear& spec);

/// A parameter that is no operator's own: a position table, a bias by itself.
Param make_param(std::string name, std::initializer_list<int64_t> shape, Cut cut = Cut::replicated,
                 int64_t parts = 1);

/// Megatron's conjugate operators around a tensor-parallel region (arXiv 1909.08053, section 3;
/// with sequence parallelism arXiv 2205.05198, section 4.2.2). No-ops where tp is 1.
///   enter: identity forward, all-reduce backward; or all-gather forward, reduce-scatter backward,
///          and, where an operator keeps the gathered tensor, a second all-gather in backward
///          because only the shard is held.
///   leave: all-reduce forward, identity backward; or reduce-scatter forward, all-gather backward.
TensorId enter_tensor_parallel(Graph& g, TensorId x);
TensorId leave_tensor_parallel(Graph& g, TensorId y);

}  // namespace memplan
