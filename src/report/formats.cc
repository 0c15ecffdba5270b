// The table of formats.
#include <array>

#include "memplan/error.h"
#include "report/report.h"

namespace memplan {
namespace {

std::string text(const Report& report, const TextStyle& style) {
  if (!report.varied.empty()) return render_list(report, style);
  return render_text(*report.answers.front().plan, style);
}

std::string explained(const Report& report, const TextStyle& style) {
  std::string out = text(report, style);
  for (const Answer& answer : report.answers)
    if (answer.plan) out += render_explanation(answer, style);
  return out;
}

std::string json(const Report& report, const TextStyle&) { return render_json(report); }

constexpr std::array<Format, 3> kFormats{{
    {"text", "one screen for people", text},
    {"explain", "the same, and where each byte comes from", explained},
    {"json", "one document for scripts", json},
}};

}  // namespace

std::span<const Format> formats() { return kFormats; }

const Format& find_format(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Format& format : kFormats) {
    if (format.name == name) return format;
    names.push_back(format.name);
  }
  throw Error(ErrorKind::bad_input, "", "'" + std::string(name) + "' is not a format",
              name_hint(name, names));
}

}  // namespace memplan
