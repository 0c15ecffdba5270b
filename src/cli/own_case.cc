#include "cli/own_case.h"

#include "base/text.h"
#include "cli/job_options.h"
#include "input/model_source.h"

namespace memplan {
namespace {

constexpr int64_t kMost = int64_t{1} << 62;

// Whole bytes and counts; times may have a fraction.
FigureValue value_of(const JsonNode& node, std::string_view figure) {
  if (figure.ends_with("_ms")) return node.number();
  return node.count(0, kMost);
}

Job read_job(const JsonNode& request) {
  const RequestFile asked = read_request(request, request.where());
  if (asked.model.empty() && !asked.megatron) throw request.missing("model").error("is absent");
  try {
    if (asked.megatron) return build_job(*asked.megatron, asked.settings).job;
    return build_job(read_model(asked.model), request.where(), asked.settings).job;
  } catch (const Error& error) {
    if (error.where().starts_with(request.where())) throw;
    // What no setting names: "--gpu: no GPU is named".
    throw request.error(error.where() + ": " + error.problem(), error.hint(), error.kind());
  }
}

}  // namespace

bool is_own_case(const JsonNode& line) { return line.find("request").has_value(); }

MeasuredCase read_own_case(const JsonNode& line) {
  MeasuredCase out;
  out.where = line.where();
  const auto id = line.find("id");
  out.id = id ? id->text() : out.where;
  out.source = "request";
  const JsonNode measured = line.at("measured").require_object();
  for (std::string_view key : measured.keys())
    out.figures.push_back({std::string(key), value_of(measured.at(key), key)});
  if (out.figures.empty()) throw measured.error("holds no figure");
  try {
    out.job = read_job(line.at("request"));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::not_modelled) throw;
    out.refused = error.problem();
  }
  return out;
}

}  // namespace memplan
