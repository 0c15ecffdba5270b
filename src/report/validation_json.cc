// The error table as the document that scripts read.
#include <nlohmann/json.hpp>

#include "report/validation.h"

namespace memplan {
namespace {

using Json = nlohmann::ordered_json;

Json optional(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json to_json(const FigureValue& value) {
  return std::visit([](const auto& v) -> Json { return v; }, value);
}

Json to_json(const ErrorRow& row) {
  Json out = {{"source", row.source},
              {"figure", row.figure},
              {"cases", row.cases()},
              {"refused", row.refused}};
  for (const char* name : {"mean", "median", "p95", "max", "bias", "under", "exact"})
    out[name] = optional(statistic(row, name));
  return out;
}

Json to_json(const CaseFigure& one) {
  Json out = {{"id", one.id}, {"source", one.source}, {"figure", one.figure}};
  if (!one.refused.empty()) {
    out["refused"] = one.refused;
    return out;
  }
  out["measured"] = to_json(one.measured);
  out["predicted"] = to_json(one.predicted);
  out["error"] = relative_error(one);
  return out;
}

}  // namespace

std::string render_validation_json(const std::vector<CaseFigure>& figures) {
  Json out = {{"schema_version", kSchemaVersion}, {"memplan_version", MEMPLAN_VERSION}};
  Json& sources = out["sources"] = Json::array();
  for (const ErrorRow& row : error_rows(figures)) sources.push_back(to_json(row));
  Json& cases = out["cases"] = Json::array();
  for (const CaseFigure& one : figures) cases.push_back(to_json(one));
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace memplan
