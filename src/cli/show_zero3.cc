// memplan show zero3: ZeRO-3 on a stack of equal layers, moment by moment.
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cost/zero3_steps.h"
#include "report/pick.h"
#include "report/records.h"

namespace memplan {
namespace {

constexpr std::array<OptionRow, 4> kOwn{{
    {"--layers", "N", "layers of the stack (3)"},
    {"--params", "N", "parameters of a layer (4)"},
    {"--gpus", "N", "GPUs that share them (4)"},
    {"--get", "POINTER", "values of the JSON alone: /*/held"},
}};

std::string help() {
  return "usage: memplan show zero3 [options]\n\n"
         "What one GPU holds and sends in one step of ZeRO-3, in elements.\n\n" +
         options_help("Options", kOwn) + '\n' + options_help("Every command", common_options());
}

int64_t count_or(const Options& options, std::string_view name, int64_t otherwise) {
  const std::string* text = options.find(name);
  return text == nullptr ? otherwise : parse_count(*text, name);
}

// Which elements of every layer each GPU keeps.
std::string shards(int64_t elements, int64_t gpus, const TextStyle& style) {
  constexpr int64_t kShown = 16;
  std::vector<Record> records;
  for (int64_t gpu = 0; gpu < std::min(gpus, kShown); ++gpu) {
    const ShardRange range = shard_of_layer(elements, gpus, gpu);
    const std::string first = std::to_string(range.first),
                      last = std::to_string(range.first + range.count - 1);
    records.push_back({{"gpu", std::to_string(gpu)},
                       {"keeps_of_every_layer", range.count == 0   ? "nothing"
                                                : range.count == 1 ? "element " + first
                                                                   : first + " to " + last}});
  }
  return '\n' + render_records(records, style) +
         (gpus > kShown ? "… and so on to GPU " + std::to_string(gpus - 1) + '\n' : "");
}

}  // namespace

int run_show_zero3(const Words& words) {
  std::vector<OptionRow> rows(kOwn.begin(), kOwn.end());
  rows.insert(rows.end(), common_options().begin(), common_options().end());
  const Options options = parse_options(words, rows, 0);
  if (options.help) {
    write_result({}, help());
    return 0;
  }
  const int64_t elements = count_or(options, "--params", 4), gpus = count_or(options, "--gpus", 4);
  std::vector<Record> records;
  for (const Zero3Step& step : zero3_steps(count_or(options, "--layers", 3), elements, gpus))
    records.push_back({{"phase", std::string(step.phase)},
                       {"layer", step.layer < 0 ? "-" : std::to_string(step.layer)},
                       {"action", std::string(step.action)},
                       {"parameter_shards", step.held.parameter_shards},
                       {"gathered", step.held.gathered},
                       {"gradient_shards", step.held.gradient_shards},
                       {"unreduced", step.held.unreduced},
                       {"held", step.held.total()},
                       {"sent", step.sent}});
  const TextStyle style = text_style(options);
  if (const std::string* pointers = options.find("--get"))
    write_result(options, pick(render_records_json(records), *pointers, "--get"));
  else if (options.has("--json"))
    write_result(options, render_records_json(records));
  else
    write_result(options, render_records(records, style) + shards(elements, gpus, style));
  return 0;
}

}  // namespace memplan
