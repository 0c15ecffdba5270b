// memplan fit: the answer to one job, or to each of a list.
#include "memplan/fit.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/text.h"
#include "cli/command.h"
#include "cli/job_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/padded_batches.h"
#include "cli/settings.h"
#include "cli/weights_check.h"
#include "input/framework_files.h"
#include "input/model_source.h"
#include "memplan/error.h"
#include "report/pick.h"
#include "report/report.h"

namespace memplan {
namespace {

constexpr std::array<OptionRow, 9> kOwn{{
    {"--request", "FILE", "a report of memplan, or its request: options win over it"},
    {"--megatron-args", "FILE",
     "Megatron-LM's arguments: a list of them, a launch script, or JSON; in place of MODEL"},
    {"--", "ARGUMENTS", "the same arguments themselves, behind everything else"},
    {"--deepspeed", "FILE", "batch, precision, ZeRO and offload of a DeepSpeed configuration"},
    {"--fsdp", "FILE", "the same of accelerate's configuration of FSDP, in JSON"},
    {"--lengths", "FILE",
     "lengths of the samples, `TOKENS SAMPLES` a line: answers for the longest"},
    {"--weights", "FILE", "compare the model with a safetensors file, index or folder"},
    {"--explain", "", "every line with its formula, every setting with its origin"},
    {"--get", "POINTER", "values of the JSON report alone: /verdict/fits,/ranks/*/memory/device"},
}};

struct Heading {
  SettingGroup group;
  std::string_view text;
};
constexpr std::array<Heading, 10> kHeadings{{
    {SettingGroup::hardware, "Hardware"},
    {SettingGroup::parallel, "Parallelism (defaults in parentheses)"},
    {SettingGroup::batch, "Batch"},
    {SettingGroup::memory, "Memory"},
    {SettingGroup::training, "Training"},
    {SettingGroup::model, "Model of memory"},
    {SettingGroup::eager,
     "With --framework pytorch or huggingface, whose precision is bf16 and attention sdpa"},
    {SettingGroup::fsdp,
     "With --framework fsdp1 or fsdp2: huggingface's modules under FullyShardedDataParallel "
     "or\nfully_shard; torchtitan: its own under fully_shard; precision mixed-bf16"},
    {SettingGroup::deepspeed,
     "With --framework deepspeed: huggingface's modules under ZeRO 0 to 3, precision mixed-bf16"},
    {SettingGroup::megatron, "With --megatron-args"},
}};

std::vector<OptionRow> all_options() {
  std::vector<OptionRow> rows;
  for (const SettingRow& row : setting_rows()) rows.push_back({row.option, row.value, row.help});
  for (const auto& part : {std::span<const OptionRow>(kOwn), common_options()})
    rows.insert(rows.end(), part.begin(), part.end());
  return rows;
}

std::string help() {
  std::string out =
      "usage: memplan fit MODEL [options]\n\n"
      "MODEL is a preset (`memplan show models`), a HuggingFace config.json, a folder that holds\n"
      "one, or a size such as 7.5B. A list such as --tp 1,2,4 answers for each value.\n";
  for (const Heading& heading : kHeadings) {
    std::vector<OptionRow> rows;
    for (const SettingRow& row : setting_rows())
      if (row.group == heading.group) rows.push_back({row.option, row.value, row.help});
    out += '\n' + options_help(heading.text, rows);
  }
  out += '\n' + options_help("Files and answers", kOwn);
  out += '\n' + options_help("Every command", common_options());
  return out;
}

std::vector<Given> on_command_line(const Options& options) {
  std::vector<Given> given;
  for (const auto& [option, text] : options.given)
    if (find_setting(option) != nullptr) given.push_back({option, text, option, "command line"});
  return given;
}

// Settings of the files that other programs read; a file wins over a request.
std::vector<Given> in_files(const Options& options, const std::vector<Given>& request) {
  std::vector<Given> given;
  const auto add = [&](std::string_view option, auto read) {
    const std::string* file = options.find(option);
    if (file == nullptr) return;
    if (!given.empty())
      throw Error(ErrorKind::bad_input, std::string(option), "stands beside --deepspeed",
                  "give one of the two");
    for (FileSetting& setting : read(*file))
      given.push_back({std::move(setting.option), std::move(setting.text), std::move(setting.where),
                       printable(*file)});
  };
  add("--deepspeed", read_deepspeed_config);
  add("--fsdp", read_fsdp_config);
  return merge(given, request);
}

// What all jobs of a list have in common.
struct Asked {
  const ModelSpec& model;
  std::string model_from;
  std::optional<MegatronLaunch> megatron;  // in place of the model
  std::vector<std::string> options;        // on the command line
  bool explain;
  std::optional<SampleLengths> lengths = {};  // of the samples
};

Answer answer(const Asked& asked, const Combination& combination) {
  Answer out;
  out.values = combination.values;
  BuiltJob built = asked.megatron ? build_job(*asked.megatron, combination.settings)
                                  : build_job(asked.model, asked.model_from, combination.settings);
  built.job.explain = asked.explain;
  built.job.options = asked.options;
  out.origins = std::move(built.origins);
  if (asked.lengths) pad_batches(built.job, *asked.lengths);
  out.plan = combination.values.empty() ? fit(built.job) : predict(built.job);
  if (asked.lengths) describe_batches(*out.plan, *asked.lengths);
  return out;
}

// In a list, an impossible value is a row of the table and not the end.
Answer answer_or_refusal(const Asked& asked, const Combination& combination) {
  try {
    return answer(asked, combination);
  } catch (const Error& error) {
    return {combination.values, {}, error.what(), error.exit_code(), {}};
  }
}

// Does a job of the list fit, or at least nothing speak against it?
bool any_fits(const Report& report) {
  return std::ranges::any_of(report.answers, [](const Answer& answer) {
    return answer.plan && answer.plan->verdict.fits.value_or(true);
  });
}

// The answers to all combinations. Throws where there is none but refusals.
std::vector<Answer> answers(const Asked& asked, const Combinations& combinations) {
  if (combinations.options.empty()) return {answer(asked, combinations.all.front())};
  std::vector<Answer> out;
  for (const Combination& combination : combinations.all)
    out.push_back(answer_or_refusal(asked, combination));
  if (std::ranges::none_of(out, [](const Answer& a) { return a.plan.has_value(); }))
    answer(asked, combinations.all.front());  // throws again
  return out;
}

// Arguments of Megatron-LM: a file's, then those behind --, then a request's own.
std::optional<MegatronLaunch> megatron_of(const Options& options, const RequestFile& request) {
  const std::string* file = options.find("--megatron-args");
  if (file == nullptr && options.behind.empty()) return request.megatron;
  if (!options.positional.empty())
    throw Error(ErrorKind::bad_input, file ? "--megatron-args" : "--",
                "the arguments of Megatron-LM say which model it is, and so does " +
                    quoted(printable(options.positional.front())),
                "leave the model's name away");
  const MegatronLaunch behind = megatron_launch(options.behind);
  if (file == nullptr) return behind;
  MegatronLaunch launch = read_megatron_file(*file);
  launch.words.insert(launch.words.end(), behind.words.begin(), behind.words.end());
  return launch;
}

ModelSpec model_of(const std::string& word) {
  if (word.empty())
    throw Error(
        ErrorKind::bad_input, "", "no MODEL is named",
        "write memplan fit llama3-8b --gpu h100-80g; `memplan show models` lists the presets");
  return read_model(word);
}

}  // namespace

int run_fit(const Words& words) {
  const Options options = parse_options(words, all_options(), 1);
  if (options.help) {
    write_result({}, help());
    return 0;
  }
  const TextStyle style = text_style(options);

  RequestFile request;
  if (const std::string* file = options.find("--request")) request = read_request(*file);
  const std::string request_name = options.has("--request") ? *options.find("--request") : "";
  const bool named = !options.positional.empty();
  const std::string word = named ? options.positional.front() : request.model;
  const std::optional<MegatronLaunch> megatron = megatron_of(options, request);
  const std::string model_from = named ? "command line" : printable(request_name);
  const ModelSpec model = megatron ? ModelSpec() : model_of(word);
  if (const std::string* weights = options.find("--weights"))
    say(options, check_weights(model, *weights));

  const bool explain = options.has("--explain");
  Asked asked{model, model_from, megatron, {}, explain};
  for (const auto& [option, text] : options.given) asked.options.push_back(option);
  std::vector<Given> given = merge(on_command_line(options), in_files(options, request.settings));
  if (const std::string* file = options.find("--lengths")) {
    if (megatron)
      throw Error(ErrorKind::not_modelled, "--lengths",
                  "Megatron-LM gives every sample --seq-length tokens",
                  "leave it away; the answer does not depend on the samples");
    asked.lengths = read_sample_lengths(*file);
    set_longest_sequence(given, *asked.lengths, *file);
  }
  const Combinations combinations = expand_lists(given);
  const Report report{combinations.options, answers(asked, combinations)};

  if (const std::string* pointers = options.find("--get")) {
    write_result(options, pick(render_json(report), *pointers, "--get"));
    return any_fits(report) ? 0 : 1;
  }
  const std::string_view format = options.has("--json") ? "json" : explain ? "explain" : "text";
  write_result(options, find_format(format).render(report, style));
  return any_fits(report) ? 0 : 1;
}

}  // namespace memplan
