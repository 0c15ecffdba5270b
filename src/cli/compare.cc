// memplan compare: two reports side by side.
#include <array>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/saved_report.h"
#include "cli/settings.h"
#include "memplan/error.h"
#include "report/comparison.h"

namespace memplan {
namespace {

constexpr std::array<OptionRow, 1> kOwn{{
    {"--rank", "N", "compare this rank of both instead of the worst ones"},
}};

std::vector<OptionRow> all_options() {
  std::vector<OptionRow> rows(kOwn.begin(), kOwn.end());
  rows.insert(rows.end(), common_options().begin(), common_options().end());
  return rows;
}

std::string help() {
  return "usage: memplan compare A.json B.json [options]\n\n"
         "A and B are reports of `memplan fit ... --json`, of any two models, strategies,\n"
         "frameworks or GPUs. One file serves that answers for a list of two jobs:\n\n"
         "  memplan fit llama3-8b --gpu h100-80g --gpus 8 --zero 2,3 --json |\n"
         "    memplan compare /dev/stdin\n\n" +
         options_help("Options", kOwn) + '\n' + options_help("Every command", common_options());
}

}  // namespace

int run_compare(const Words& words) {
  const Options options = parse_options(words, all_options(), 2);
  if (options.help) {
    write_result({}, help());
    return 0;
  }
  if (options.positional.empty())
    throw Error(ErrorKind::bad_input, "", "no report is named",
                "write memplan compare A.json B.json; `memplan fit ... --json` makes them");
  std::optional<int64_t> rank;
  if (const std::string* given = options.find("--rank")) rank = parse_count(*given, "--rank", 0);
  std::vector<ComparedReport> reports;
  for (const std::string& path : options.positional)
    for (ComparedReport& report : read_saved_reports(path, rank))
      reports.push_back(std::move(report));
  if (reports.size() != 2)
    throw Error(ErrorKind::bad_input, "",
                reports.size() < 2 ? "one report has nothing to be compared with"
                                   : "there are more than two reports",
                "name two files of one report each, or one with a list of two");
  write_result(options, options.has("--json")
                            ? render_comparison_json(reports[0], reports[1])
                            : render_comparison(reports[0], reports[1], text_style(options)));
  return 0;
}

}  // namespace memplan
