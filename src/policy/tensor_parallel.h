// torch.distributed.tensor.parallel in plain PyTorch: Megatron's plan for a layer of a Llama.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "memplan/job.h"
#include "memplan/units.h"
#include "ops/graph.h"

namespace memplan::tensor_parallel {

/// parallelize_module's styles for a linear layer (parallel/style.py, 2.14).
enum class Style : uint8_t {
  whole,
  colwise,  ///< rows of the weight are cut: a part of the outputs
  rowwise,  ///< columns are cut: a part of the sum
};

/// Whether layers are cut by parallelize_module.
bool cuts_layers(const Strategy& strategy);
/// Of a module by its name in the layer: attention's and the MLP's projections.
Style style_of(const Strategy& strategy, std::string_view module);
/// Sizes of a parameter on one rank.
std::array<int64_t, 4> local_shape(const Strategy& strategy, const Param& param);

/// Refuses, by name, what the plan does not fit. Throws Error{not_modelled, bad_input}.
void require_modelled(const Job& job);

/// As fsdp2::mesh_bytes.
Bytes mesh_bytes(const Job& job);

}  // namespace memplan::tensor_parallel
