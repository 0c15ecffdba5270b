// memplan validate: predictions against measurements.
#include <array>
#include <limits>

#include "base/text.h"
#include "cli/bound.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/own_case.h"
#include "cli/prediction.h"
#include "input/json_lines.h"
#include "input/published_case.h"
#include "input/trace_case.h"
#include "memplan/error.h"
#include "report/validation.h"

namespace memplan {
namespace {

constexpr std::array<OptionRow, 3> kOwn{{
    {"--bound", "LIMIT", "exit 1 if it is exceeded: 'peak.*:max=1%', 'activations:exact=90%'",
     true},
    {"--cases", "", "list every case"},
    {"--markdown", "", "the tables as Markdown"},
}};

std::vector<OptionRow> all_options() {
  std::vector<OptionRow> rows(kOwn.begin(), kOwn.end());
  rows.insert(rows.end(), common_options().begin(), common_options().end());
  return rows;
}

std::string help() {
  return "usage: memplan validate FILE... [options]\n\n"
         "Each line of FILE is a JSON object: a result of tests/reference/trace_step.py, a record\n"
         "in the form of tests/reference/published.jsonl, or {\"request\": ..., \"measured\":\n"
         "{\"allocated\": bytes, \"reserved\": ..., \"device\": ...}} of your own. Errors are\n"
         "(predicted - measured) / measured; a case that memplan refuses counts apart, by "
         "reason.\n\n" +
         options_help("Options", kOwn) +
         "\n--bound takes [SOURCE@]FIGURE:STATISTIC=VALUE and may be given more than once; '*' "
         "stands\n"
         "for any characters. Statistics: mean, median, p95, max (of the errors' sizes), bias, "
         "under,\n"
         "refused are at most VALUE; exact and within0.1%, shares of the cases, at least.\n\n" +
         options_help("Every command", common_options());
}

struct Form {
  bool (*is)(const JsonNode& line);
  MeasuredCase (*read)(const JsonNode& line);
};
constexpr std::array<Form, 3> kForms{{
    {is_trace, read_trace},
    {is_own_case, read_own_case},
    {is_published, read_published},
}};

MeasuredCase read_case(const JsonNode& line) {
  for (const Form& form : kForms)
    if (form.is(line)) return form.read(line);
  throw line.error("is no measured case",
                   "a line has `case` and `mode`, `source` and `measured`, or `request` and "
                   "`measured`");
}

}  // namespace

int run_validate(const Words& words) {
  const Options options = parse_options(words, all_options(), std::numeric_limits<size_t>::max());
  if (options.help) {
    write_result({}, help());
    return 0;
  }
  const ValidationStyle style{text_style(options), options.has("--cases")};
  std::vector<Bound> bounds;
  for (const std::string& text : options.all("--bound"))
    bounds.push_back(parse_bound(text, "--bound"));
  if (options.positional.empty())
    throw Error(ErrorKind::bad_input, "", "no FILE is named",
                "write memplan validate tests/reference/torch_traces.jsonl");

  std::vector<CaseFigure> figures;
  for (const std::string& file : options.positional)
    read_json_lines(file, [&](const JsonNode& line) {
      for (CaseFigure& figure : predict_case(read_case(line))) figures.push_back(std::move(figure));
    });

  if (options.has("--json"))
    write_result(options, render_validation_json(figures));
  else if (options.has("--markdown"))
    write_result(options, render_validation_markdown(figures));
  else
    write_result(options, render_validation(figures, style));

  int code = 0;
  const std::vector<ErrorRow> rows = error_rows(figures);
  for (const Bound& bound : bounds) {
    for (const std::string& what : broken(bound, rows)) {
      say({}, "memplan: bound exceeded: " + what + '\n');  // an error, also under --quiet
      code = 1;
    }
  }
  return code;
}

}  // namespace memplan
