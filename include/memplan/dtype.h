// Element types of tensors.
#pragma once

#include <cstdint>
#include <string_view>

namespace memplan {

enum class DType : uint8_t { f32, bf16, f16, f8, u8, boolean, i64, i32, f64 };

/// Bytes of one element.
constexpr int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
    case DType::f8:
    case DType::u8:
    case DType::boolean:
      return 1;
  }
  return 0;
}

/// "fp32", "bf16", …: the word that options and reports use.
std::string_view to_string(DType dtype);

/// Reads "fp32", "float32", "bf16", "bfloat16", "fp16", "float16", "half", "fp8".
/// `where` names the option or field. Throws Error{bad_input}.
DType parse_dtype(std::string_view text, std::string_view where);

}  // namespace memplan
