// Presets and names as records: a table of many, a list of one, or JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "report/report.h"

namespace memplan {

enum class Unit : uint8_t {
  none,
  count,       ///< 8,030,261,248
  parameters,  ///< 8.03B in tables, the exact count elsewhere
  bytes,       ///< GiB
  rate,        ///< bytes a second, GB/s
  flops,       ///< FLOP/s, TFLOP/s
};

struct Field {
  std::string_view key;
  std::variant<std::monostate, bool, int64_t, double, std::string> value;
  Unit unit = Unit::none;
  bool brief = true;  ///< shown where there are many records
};
using Record = std::vector<Field>;  ///< the first field is the name

/// A row each; all have the same keys.
std::string render_records(const std::vector<Record>& records, const TextStyle& style);
/// Every field of one, a line each.
std::string render_record(const Record& record, const TextStyle& style);
/// An array; numbers in bytes, bytes a second and FLOP/s.
std::string render_records_json(const std::vector<Record>& records);
std::string render_record_json(const Record& record);

}  // namespace memplan
