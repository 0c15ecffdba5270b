// Frozen weights as bitsandbytes 0.50.2 stores them, and its linear layers on them.
#pragma once

#include <cstdint>
#include <vector>

#include "memplan/strategy.h"
#include "ops/aten/tensor.h"

namespace memplan::aten {

struct QuantFormat {
  QuantKind kind = QuantKind::nf4;
  bool double_quant = false;
  DType compute = DType::bf16;  ///< bnb_4bit_compute_dtype
  DType loaded = DType::bf16;   ///< QuantState.dtype: what backward unpacks a 4-bit weight to
  bool sharded = false;         ///< the packed matrix is cut over GPUs, and counted by who does it
};

/// Bytes of each storage of a quantized matrix: packed weight, scales, tables.
std::vector<int64_t> quantized_storages(const QuantFormat& format, const Shape& sizes);
/// What peft counts as its number of parameters: a byte of 4-bit weights holds two.
int64_t quantized_elements(const QuantFormat& format, const Shape& sizes);

bool is_quantized(const Tensor& weight);
bool is_4bit(const Tensor& weight);

/// Linear4bit.forward, Linear8bitLt.forward: weight [out, in], `bias` may be empty.
Tensor quantized_linear(const Tensor& x, const Tensor& weight, const Tensor& bias);
/// The whole matrix: functional.dequantize_4bit, int8_vectorwise_dequant.
Tensor dequantize(const Tensor& weight);

}  // namespace memplan::aten
