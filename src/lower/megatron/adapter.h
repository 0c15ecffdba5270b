// LoRA of Megatron-Bridge beside Transformer Engine's layers
// (src/megatron/bridge/peft/{lora_layers,utils}.py: LoRALinear, ParallelLinearAdapter).
#pragma once

#include <string_view>

#include "lower/megatron/walk.h"

namespace memplan::megatron {

/// Whether the module of this name has an adapter.
bool is_adapted(const Params& p, std::string_view module);

/// y [s, b, out/tp] of a column-parallel layer with its adapter's added: x is the whole sequence's
/// input [s, b, in].
Tensor with_column_adapter(const Walk& w, const Params& p, std::string_view module, const Tensor& x,
                           const Tensor& y);

/// y [s/tp, b, out] of a row-parallel layer with its adapter's added: x [s, b, in/tp].
Tensor with_row_adapter(const Walk& w, const Params& p, std::string_view module, const Tensor& x,
                        const Tensor& y);

}  // namespace memplan::megatron
