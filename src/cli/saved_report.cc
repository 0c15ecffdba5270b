#include "cli/saved_report.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "input/json.h"
#include "input/text_file.h"
#include "memplan/error.h"
#include "report/memory_table.h"

namespace memplan {
namespace {

constexpr size_t kMaxReportBytes = size_t{64} << 20;
constexpr int64_t kMostBytes = int64_t{1} << 62;

Bytes bytes(const JsonNode& node) { return Bytes(node.count(0, kMostBytes)); }

template <typename Enum, size_t N>
Enum named(const JsonNode& node, const std::array<Enum, N>& values) {
  std::vector<std::string_view> names;
  for (Enum value : values) names.push_back(to_string(value));
  const std::string name = node.one_of(names);
  return values[static_cast<size_t>(std::ranges::find(names, name) - names.begin())];
}

constexpr std::array kHolders{Holder::weights,     Holder::gradients, Holder::optimizer,
                              Holder::activations, Holder::transient, Holder::buffers};
constexpr std::array kRisks{Risk::fits, Risk::tight, Risk::does_not_fit};

std::string value_text(const JsonNode& node) {
  if (node.is_null()) return "-";
  if (node.is_text()) return node.text();
  if (node.is_boolean()) return node.boolean() ? "true" : "false";
  if (node.is_object()) return node.at("kind").text();  // peft
  if (!node.is_array()) return node.number_text();
  std::string out;
  for (const std::string& word : node.texts()) out += (out.empty() ? "" : " ") + word;
  return out;
}

Verdict verdict_of(const JsonNode& node) {
  Verdict out;
  if (const JsonNode fits = node.at("fits"); !fits.is_null()) out.fits = fits.boolean();
  out.risk = named(node.at("risk"), kRisks);
  out.capacity = bytes(node.at("capacity_bytes"));
  const JsonNode device = node.at("device_bytes");
  out.low = bytes(device.at("low"));
  out.expected = bytes(device.at("expected"));
  out.high = bytes(device.at("high"));
  out.worst_rank = node.at("worst_rank").count(0);
  return out;
}

// Lines outside the allocator have a holder too; it says nothing there.
std::vector<LedgerLine> ledger(const JsonNode& node) {
  std::vector<LedgerLine> out;
  for (const JsonNode& line : node.items())
    out.push_back({named(line.at("holder"), kHolders), printable(line.at("label").text()),
                   bytes(line.at("bytes")), "", ""});
  return out;
}

RankPlan rank_of(const JsonNode& node) {
  RankPlan out;
  out.rank = node.at("rank").count(0);
  out.count = node.at("count").count();
  out.pipeline_stage = node.at("pipeline_stage").count(0);
  out.role = printable(node.at("role").text());
  for (const MemoryLine& line : memory_lines())
    out.memory.*line.bytes = bytes(node.at("memory").at(line.key));
  out.peak_phase = printable(node.at("peak").at("phase").text());
  out.peak_operator = printable(node.at("peak").at("operator").text());
  for (const JsonNode& phase : node.at("phases").items())
    out.phases.push_back({printable(phase.at("phase").text()), bytes(phase.at("allocated")),
                          bytes(phase.at("reserved")), bytes(phase.at("device")), ""});
  out.lines = ledger(node.at("lines"));
  out.outside = ledger(node.at("outside"));
  return out;
}

RankPlan chosen_rank(const JsonNode& ranks, int64_t number) {
  int64_t last = 0;
  for (const JsonNode& node : ranks.items()) {
    const int64_t first = node.at("rank").count(0), count = node.at("count").count();
    if (number >= first && number - first < count) return rank_of(node);
    last = std::max(last, first + (count - 1));
  }
  throw ranks.error("there is no rank " + std::to_string(number),
                    "ranks are 0 to " + std::to_string(last));
}

ComparedReport report_of(const JsonNode& root, std::string title, std::optional<int64_t> rank) {
  if (const auto refused = root.find("error"))
    throw refused->error("this job was refused: " + printable(refused->at("message").text()),
                         "compare jobs that were answered");
  ComparedReport out;
  out.title = std::move(title);
  const JsonNode request = root.at("request").require_object();
  for (std::string_view key : request.keys())
    out.settings.emplace_back(printable(key), printable(value_text(request.at(key))));
  out.verdict = verdict_of(root.at("verdict"));
  out.rank = chosen_rank(root.at("ranks"), rank.value_or(out.verdict.worst_rank));
  for (const JsonNode& row : root.at("communication").items()) {
    Traffic traffic;
    traffic.group = printable(row.at("group").text());
    traffic.collective = printable(row.at("collective").text());
    traffic.what = printable(row.at("what").text());
    traffic.phase = printable(row.at("phase").text());
    traffic.bytes_sent_per_gpu = bytes(row.at("bytes_sent_per_gpu"));
    out.communication.push_back(std::move(traffic));
  }
  for (const std::string& what : root.at("not_modelled").texts())
    out.not_modelled.push_back(printable(what));
  return out;
}

// "--zero 3" of {"--zero": "3"}.
std::string varied_title(const JsonNode& report) {
  const JsonNode values = report.at("varied").require_object();
  std::string out;
  for (std::string_view key : values.keys())
    out += (out.empty() ? "" : " ") + printable(key) + ' ' + printable(values.at(key).text());
  return out;
}

}  // namespace

std::vector<ComparedReport> read_saved_reports(const std::string& path,
                                               std::optional<int64_t> rank) {
  const JsonDocument document(read_text_file(path, kMaxReportBytes), path);
  const JsonNode root = document.root().require_object();
  const auto schema = root.find("schema_version");
  if (!schema)
    throw root.error("is no report of memplan",
                     "write one: memplan fit MODEL --gpu NAME --json --output FILE");
  if (schema->count() != kSchemaVersion)
    throw schema->error("is not " + std::to_string(kSchemaVersion) + ", which is read here",
                        "write the report again with this version of memplan");
  std::vector<ComparedReport> out;
  if (const auto list = root.find("reports"); list && list->is_array()) {
    for (const JsonNode& report : list->items())
      out.push_back(report_of(report, varied_title(report), rank));
    if (out.size() != 2)
      throw list->error("answers for " + std::to_string(out.size()) + " jobs",
                        "two are compared: --zero 2,3");
  } else {
    out.push_back(report_of(root, printable(path), rank));
  }
  return out;
}

}  // namespace memplan
