// A comparison for scripts. Keys are a contract: add, never rename.
#include <nlohmann/json.hpp>

#include "report/comparison.h"
#include "report/memory_table.h"

namespace memplan {
namespace {

using Json = nlohmann::ordered_json;

Json sides(Json row, Bytes a, Bytes b) {
  row["a"] = a.count();
  row["b"] = b.count();
  row["difference"] = (b - a).count();
  return row;
}

Json to_json(const ComparedReport& report) {
  const Verdict& v = report.verdict;
  return {{"report", report.title},
          {"rank", report.rank.rank},
          {"fits", v.fits ? Json(*v.fits) : Json(nullptr)},
          {"risk", to_string(v.risk)},
          {"capacity_bytes", v.capacity.count()},
          {"peak", {{"phase", report.rank.peak_phase}, {"operator", report.rank.peak_operator}}},
          {"not_modelled", report.not_modelled}};
}

Json lines(const std::vector<ComparedLine>& compared, const char* part, const char* label) {
  Json out = Json::array();
  for (const ComparedLine& line : compared) {
    Json row = {{part, line.part}};
    if (label != nullptr) row[label] = line.label;
    out.push_back(sides(std::move(row), line.a, line.b));
  }
  return out;
}

}  // namespace

std::string render_comparison_json(const ComparedReport& a, const ComparedReport& b) {
  const Comparison comparison = compare(a, b);
  Json out = {{"schema_version", kSchemaVersion}, {"memplan_version", MEMPLAN_VERSION}};
  out["reports"] = {to_json(a), to_json(b)};
  Json& settings = out["settings"] = Json::array();
  for (const ChangedSetting& change : comparison.settings)
    settings.push_back({{"key", change.key}, {"a", change.a}, {"b", change.b}});
  Json& memory = out["memory"] = Json::array();
  for (const MemoryLine& line : memory_lines())
    memory.push_back(
        sides({{"line", line.key}}, a.rank.memory.*line.bytes, b.rank.memory.*line.bytes));
  out["lines"] = lines(comparison.lines, "holder", "label");
  out["phases"] = lines(comparison.phases, "phase", nullptr);
  out["communication"] = lines(comparison.communication, "group", "what");
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace memplan
