#include "input/published_case.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "input/published_fields.h"
#include "input/published_operator.h"
#include "input/published_sources.h"

namespace memplan {
namespace {

// Figures of the sources that have no reader: what is refused.
constexpr auto kAnyFigures = std::to_array<PublishedFigure>({
    {"trainable_params", "trainable_params", 1},
    {"total_params", "total_params", 1},
    {"peak_allocated_gib", "allocated", 0x1p30},
    {"peak_allocated_gb", "allocated", 1e9},
    {"peak_reserved_gib", "reserved", 0x1p30},
    {"peak_reserved_gb", "reserved", 1e9},
    {"peak_active_gib", "active", 0x1p30},
    {"nvidia_smi_gb", "device", 1e9},
    {"allocated_after_step_gib", "after_step", 0x1p30},
    {"step_ms", "step_ms", 1},
});

// Kinds of records that memplan has nothing to hold against.
struct KindRow {
  std::string_view kind, why;
};
constexpr auto kOtherKinds = std::to_array<KindRow>({
    {"analytic_reference", "a formula's figure, not a measurement"},
    {"estimate", "an estimate, not a measurement"},
    {"inference-latency", "inference is not modelled"},
    {"comm_volume", "communication volume alone is not compared"},
    {"steptime", "step time is not modelled yet"},
    {"steptime+fit", "step time is not modelled yet"},
    {"layer_time", "step time is not modelled yet"},
    {"layer_memory", "the memory of a single layer is not compared"},
});

std::string source_name(const JsonNode& source) {
  constexpr std::string_view kHost = "https://github.com/";
  for (const char* key : {"repo", "paper", "url"}) {
    const std::string name = published_text(source, key);
    if (!name.empty()) return name.starts_with(kHost) ? name.substr(kHost.size()) : name;
  }
  return "unnamed";
}

const PublishedSource* find_source(const std::string& name, const std::string& file) {
  for (const PublishedSource& source : published_sources())
    if (name.find(source.name) != name.npos && file.find(source.file) != file.npos) return &source;
  return nullptr;
}

Measurement figure_of(const PublishedFigure& row, const JsonNode& value) {
  Measurement out{std::string(row.figure), int64_t{0}, std::string(row.refused), row.answered, {}};
  constexpr double kMost = 0x1p62;
  const double bytes = value.number() * row.unit;
  if (!(bytes >= 0 && bytes < kMost)) throw value.error("is out of range");
  // Counts are exact; sizes were rounded when they were printed.
  if (row.unit == 1 && !row.key.ends_with("_ms"))
    out.value = value.count(0, int64_t{1} << 62);
  else
    out.value = bytes;
  return out;
}

std::vector<Measurement> read_figures(const JsonNode& measured,
                                      std::span<const PublishedFigure> rows) {
  std::vector<Measurement> out;
  for (const PublishedFigure& row : rows) {
    const auto value = measured.find(row.key);
    const bool known = std::ranges::find(out, row.figure, &Measurement::figure) != out.end();
    if (!value || value->is_null() || known) continue;
    if (!value->is_array()) {
      out.push_back(figure_of(row, *value));
      continue;
    }
    int64_t rank = 0;
    for (const JsonNode& one : value->items()) {
      out.push_back(figure_of(row, one));
      out.back().rank = rank++;
    }
  }
  return out;
}

std::string why_not(const JsonNode& line) {
  const std::string kind = published_text(line, "kind");
  for (const KindRow& row : kOtherKinds)
    if (row.kind == kind) return std::string(row.why);
  const std::string framework = published_text(line, "framework");
  if (framework.empty()) return "the record does not say the framework";
  return "framework " + printable(framework) + " is not modelled yet";
}

}  // namespace

bool is_published(const JsonNode& line) { return line.find("source") && line.find("measured"); }

MeasuredCase read_published(const JsonNode& line) {
  MeasuredCase out;
  const JsonNode source = line.at("source").require_object();
  const JsonNode measured = line.at("measured").require_object();
  out.id = line.at("id").text();
  out.source = source_name(source);
  out.where = line.where();
  if (is_operator_record(line)) {
    read_operator_record(line, out);
    return out;
  }
  const PublishedSource* known = find_source(out.source, published_text(source, "file"));
  out.figures = read_figures(measured, known ? known->figures : std::span(kAnyFigures));
  if (known == nullptr) {
    out.refused = why_not(line);
    return out;
  }
  try {
    if (known->read_model != nullptr) out.model = known->read_model(line);
    out.job = known->read(line);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::not_modelled) throw;
    out.refused = error.problem();
  }
  return out;
}

}  // namespace memplan
