// Settings from several places put together to one job.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "input/json.h"
#include "input/megatron_text.h"
#include "memplan/job.h"
#include "report/report.h"

namespace memplan {

/// A setting that somebody gave.
struct Given {
  std::string option;  ///< "--tp"
  std::string text;
  std::string where;                  ///< for messages: "--tp", "request.json: /tp"
  std::string from;                   ///< for --explain: "command line", "request.json"
  std::optional<PeftSpec> peft = {};  ///< of --peft, where a file spells it out
};

/// What a report, or the `request` object of one, asks for.
struct RequestFile {
  std::string model;  ///< empty: it names none
  std::vector<Given> settings;
  std::optional<MegatronLaunch> megatron;  ///< the model is that of these arguments
};
/// Throws Error{bad_input} with file and JSON pointer.
RequestFile read_request(const std::string& path);
/// The same of an object inside another document; `from`: what to call it.
RequestFile read_request(const JsonNode& root, const std::string& from);

/// `over` wins; what it replaces in `under` is dropped.
std::vector<Given> merge(std::vector<Given> over, const std::vector<Given>& under);

struct BuiltJob {
  Job job;
  std::vector<Origin> origins;
};

/// Applies the settings in the table's order and fills in the rest; every default that matters is
/// one of Job::assumptions. Throws Error{bad_input}.
BuiltJob build_job(const ModelSpec& model, std::string_view model_from,
                   const std::vector<Given>& given);
/// The same with the model, and whatever no setting says, from Megatron-LM's arguments.
BuiltJob build_job(const MegatronLaunch& launch, const std::vector<Given>& given);

/// A list asks for several jobs: settings without lists, one for each combination of values.
struct Combination {
  std::vector<std::string> values;  ///< of Combinations::options
  std::vector<Given> settings;
};
struct Combinations {
  std::vector<std::string> options;  ///< those that were given lists
  std::vector<Combination> all;      ///< the first option changes slowest
};
/// Throws Error{bad_input} for an empty item, and for more than 1,000 combinations.
Combinations expand_lists(const std::vector<Given>& given);

}  // namespace memplan
