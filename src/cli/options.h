// The words behind a command, sorted into options and the rest.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace memplan {

struct OptionRow {
  std::string_view name;   ///< "--json"
  std::string_view value;  ///< "FILE"; empty: a flag
  std::string_view help;
  bool repeats = false;  ///< may be given more than once
};

struct Options {
  std::vector<std::string> positional;
  std::vector<std::pair<std::string, std::string>> given;  ///< in the order of the rows
  bool help = false;
  std::vector<std::string> behind;  ///< what stands behind "--", where a row of that name is

  const std::string* find(std::string_view name) const;
  std::vector<std::string> all(std::string_view name) const;  ///< of an option that repeats
  bool has(std::string_view name) const { return find(name) != nullptr; }
};

/// Throws Error{bad_input}: an unknown option (with the nearest), one without its value or given
/// twice, more than `most_positional` other words.
Options parse_options(const std::vector<std::string>& words, std::span<const OptionRow> rows,
                      size_t most_positional);

/// --json, --output, --color, --quiet: every command has them.
std::span<const OptionRow> common_options();

/// A heading and its options, aligned.
std::string options_help(std::string_view heading, std::span<const OptionRow> rows);

}  // namespace memplan
