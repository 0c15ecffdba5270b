// Models loaded with a BitsAndBytesConfig: which parameters are quantized, what dtype the others
// have, and peft's modules around a quantized linear layer.
#pragma once

#include <string_view>

#include "lower/huggingface/module.h"
#include "lower/program.h"

namespace memplan::hf {

/// How the job's quantized weights are stored and multiplied.
aten::QuantFormat quant_format(const Strategy& strategy);
/// Whether bitsandbytes stores this parameter.
bool quantizes(const Strategy& strategy, const FamilyRow& row, const Param& param);
/// The dtype of a parameter of `graph` that is not quantized.
DType stored_dtype(const Strategy& strategy, const FamilyRow& row, const Graph& graph,
                   const Param& param);

/// Tables that bitsandbytes keeps for itself: on the host, seen where the CPU's tensors are
/// counted, NF4's and FP4's from its import on (backends/utils.py); beside the weights the one that
/// quantizes scales (functional.py, name2qmap).
Bytes quantization_tables(const Job& job, const Program& program);

/// Methods whose modules peft writes anew for quantized layers (tuners/*/bnb.py).
bool unpacks_by_itself(PeftKind kind);
/// A quantized linear layer with what such a method puts around it.
Tensor quantized_module(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
                        const Tensor& weight, const Tensor& bias);

/// Throws Error{bad_input, not_modelled} naming what cannot be done with quantized weights.
void require_quantized_forward(const Job& job, const Program& program);

}  // namespace memplan::hf
