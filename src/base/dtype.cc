#include "memplan/dtype.h"

#include <array>
#include <string>
#include <vector>

#include "memplan/error.h"

namespace memplan {

std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "fp64";
    case DType::f32:
      return "fp32";
    case DType::bf16:
      return "bf16";
    case DType::f16:
      return "fp16";
    case DType::f8:
      return "fp8";
    case DType::u8:
      return "uint8";
    case DType::boolean:
      return "bool";
    case DType::i64:
      return "int64";
    case DType::i32:
      return "int32";
  }
  return "?";
}

DType parse_dtype(std::string_view text, std::string_view where) {
  struct Row {
    std::string_view name;
    DType dtype;
  };
  static constexpr std::array<Row, 8> kRows{{{"fp32", DType::f32},
                                             {"float32", DType::f32},
                                             {"bf16", DType::bf16},
                                             {"bfloat16", DType::bf16},
                                             {"fp16", DType::f16},
                                             {"float16", DType::f16},
                                             {"half", DType::f16},
                                             {"fp8", DType::f8}}};
  std::vector<std::string_view> names;
  for (const Row& row : kRows) {
    if (row.name == text) return row.dtype;
    names.push_back(row.name);
  }
  throw Error(ErrorKind::bad_input, std::string(where),
              "'" + std::string(text) + "' is not a number format", name_hint(text, names));
}

}  // namespace memplan
