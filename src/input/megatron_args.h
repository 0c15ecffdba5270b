// Megatron-LM's arguments -> a job.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "input/megatron_text.h"
#include "input/megatron_values.h"
#include "memplan/job.h"

namespace memplan {

/// What a script trains.
enum class MegatronScript : uint8_t {
  gpt,    ///< pretrain_gpt.py
  t5,     ///< pretrain_t5.py
  hybrid  ///< pretrain_mamba.py and pretrain_hybrid.py
};

/// Arguments read, with the places they stand at.
struct MegatronArguments {
  MegatronValues values;
  /// As they were given, behind variables that change memory and the script's name, where that is
  /// not pretrain_gpt.py.
  std::vector<std::string> words;
  MegatronScript script = MegatronScript::gpt;
  std::string from;  ///< file, or "command line"
  std::vector<EnvironmentSetting> environment;
};

/// Reads the words of a launch, which come before those of `over`; variables may stand in front of
/// them ("CUBLAS_WORKSPACE_CONFIG=:4096:8"), and behind those the script's name. Throws
/// Error{bad_input} with file and line, JSON pointer or option; Error{not_modelled} for a script
/// other than MegatronScript's and for arguments that memplan refuses.
MegatronArguments read_megatron(const MegatronLaunch& launch,
                                const std::vector<MegatronWord>& over = {});

/// Fills model and strategy as megatron/training/arguments.py and TransformerConfig do, but for
/// what depends on the number of GPUs. MegatronSpec's versions are asked, not set. Throws
/// Error{bad_input} where an argument is missing or they contradict each other.
void apply_megatron(const MegatronArguments& arguments, Job& job);

/// The rest, with Strategy::dp known: the global batch where none is given, and the rules between
/// groups of ranks. Throws Error{bad_input}.
void finish_megatron(const MegatronArguments& arguments, Job& job);

/// Which argument set what: {key of a setting, "train.sh:12 --bf16"}, for --explain.
std::vector<std::pair<std::string, std::string>> megatron_origins(
    const MegatronArguments& arguments);

}  // namespace memplan
