#include "report/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "report/table.h"

namespace memplan {
namespace {

using Json = nlohmann::ordered_json;

std::string number_text(double value, Unit unit) {
  if (value == 0) return "-";
  switch (unit) {
    case Unit::rate:
      return fmt::format("{:g} GB/s", value / 1e9);
    case Unit::flops:
      return fmt::format("{:g} TFLOP/s", value / 1e12);
    default:
      return fmt::format("{:g}", value);
  }
}

std::string integer_text(int64_t value, Unit unit, bool brief) {
  switch (unit) {
    case Unit::bytes:
      return size_text(Bytes(value));
    case Unit::count:
      return format_count(value);
    case Unit::parameters:
      return brief ? format_parameters(value) : format_count(value);
    default:
      return fmt::format("{}", value);
  }
}

std::string text_of(const Field& field, bool brief) {
  struct Visitor {
    const Field& field;
    bool brief;
    std::string operator()(std::monostate) const { return "-"; }
    std::string operator()(bool b) const { return b ? "yes" : "no"; }
    std::string operator()(int64_t n) const { return integer_text(n, field.unit, brief); }
    std::string operator()(double x) const { return number_text(x, field.unit); }
    std::string operator()(const std::string& text) const { return visible(text); }
  };
  return std::visit(Visitor{field, brief}, field.value);
}

std::string spaced(std::string_view key) {
  std::string out(key);
  std::replace(out.begin(), out.end(), '_', ' ');
  return out;
}

Json json_of(const Record& record) {
  Json out = Json::object();
  for (const Field& field : record)
    out[field.key] = std::visit(
        [](const auto& v) -> Json {
          if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::monostate>)
            return nullptr;
          else
            return v;
        },
        field.value);
  return out;
}

std::string dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace

std::string render_records(const std::vector<Record>& records, const TextStyle& style) {
  if (records.empty()) return "none\n";
  std::vector<Align> columns;
  std::vector<Cell> titles;
  for (const Field& field : records.front()) {
    if (!field.brief) continue;
    const bool text = std::holds_alternative<std::string>(field.value);
    columns.push_back(text ? Align::left : Align::right);
    titles.push_back({spaced(field.key), Ink::bold});
  }
  Table table(columns, style.width);
  table.add(std::move(titles));
  for (const Record& record : records) {
    std::vector<Cell> cells;
    for (const Field& field : record)
      if (field.brief) cells.push_back({text_of(field, true)});
    table.add(std::move(cells));
  }
  return table.render(0, style.color);
}

std::string render_record(const Record& record, const TextStyle& style) {
  Table table({Align::left, Align::left}, style.width);
  for (const Field& field : record) table.add({{spaced(field.key)}, {text_of(field, false)}});
  return table.render(0, style.color);
}

std::string render_records_json(const std::vector<Record>& records) {
  Json out = Json::array();
  for (const Record& record : records) out.push_back(json_of(record));
  return dump(out);
}

std::string render_record_json(const Record& record) { return dump(json_of(record)); }

}  // namespace memplan
