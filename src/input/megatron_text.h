// Where Megatron-LM's arguments come from: a file of arguments, a launch script, JSON, or words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "input/json.h"

namespace memplan {

/// A word of Megatron-LM's command line and where it stands.
struct MegatronWord {
  std::string text;
  std::string where;         ///< "train.sh:12", "args.json: /MODEL_ARGS/--bf16", "--tp"
  std::string unknown = {};  ///< why the text is not known: "$SIZE is not set in this script"
};

struct EnvironmentSetting {
  std::string name;
  MegatronWord value;
};

/// What starts a training run.
struct MegatronLaunch {
  std::string from;                 ///< the file's name, for --explain
  std::vector<MegatronWord> words;  ///< the arguments
  std::vector<EnvironmentSetting> environment;
  std::string script;  ///< "pretrain_gpt.py"; empty: not known
  std::string script_where;
  std::optional<int64_t> gpus;  ///< what torchrun, srun or deepspeed starts
  std::optional<int64_t> gpus_per_node;
};

/// Reads a file in whichever form it has:
///   arguments separated by blanks and line ends, with quotes and # comments;
///   a bash script that starts pretrain_*.py or train.py;
///   JSON, {"MODEL_ARGS": {"--num-layers": 12, "--bf16": true}, "ENV_VARS": {…}} or the inner
///   object alone, as Megatron-LM's functional tests have it in YAML.
/// Throws Error{bad_input} with file and line or JSON pointer: none of these, YAML, no launch line
/// or several, a quote that is not closed.
MegatronLaunch read_megatron_file(const std::string& path);
/// The same of a text; `file` names it in messages.
MegatronLaunch parse_megatron_text(std::string_view text, const std::string& file);
/// The same of an object inside another JSON document.
MegatronLaunch megatron_launch(const JsonNode& arguments, const std::string& from);
/// Adds the variables of an object such as {"NVTE_FUSED_ATTN": 0}.
void read_environment(const JsonNode& variables, MegatronLaunch& launch);
/// The same of words that stand behind `--` on memplan's command line.
MegatronLaunch megatron_launch(const std::vector<std::string>& words);

}  // namespace memplan
