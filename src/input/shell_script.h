// A bash script, read as far as its commands' words can be known without running it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace memplan {

struct ShellWord {
  std::string text;  ///< with what is not known as it stands in the script: "$SLURM_NNODES"
  int line = 1;
  /// Why the text is not known: "$SLURM_NNODES is not set in this script". Empty: it is.
  std::string unknown = {};
};

struct ShellCommand {
  struct Setting {
    std::string name;
    ShellWord value;
  };
  std::vector<ShellWord> words;
  std::vector<Setting> environment;  ///< exported, or set in front of the command
};

/// Calls `run` with each command of the script that can be reached, in the order of the text;
/// commands in the branches of conditions count too. Variables, arrays, quotes, continued lines,
/// defaults ("${X:-1}"), $((…)) of whole numbers and `bash -c "…"` are evaluated; what a command
/// prints, patterns in ${…}, unset variables, and variables that a condition sets are not known.
/// Throws Error{bad_input} with "FILE:LINE" where a quote or bracket is not closed, and where
/// expansion gives more than 4 MiB.
void read_shell_script(std::string_view text, const std::string& file,
                       const std::function<void(const ShellCommand&)>& run);

/// The words of a file of arguments: separated by blanks and line ends, with quotes, comments from
/// a '#' at the beginning of a word, and nothing expanded but backslashes. Throws as above.
std::vector<ShellWord> read_argument_words(std::string_view text, const std::string& file);

}  // namespace memplan
