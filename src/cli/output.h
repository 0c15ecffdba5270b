// Where results go, and what the terminal can show.
#pragma once

#include <string>
#include <string_view>

#include "cli/options.h"
#include "report/report.h"

namespace memplan {

/// --color, NO_COLOR (any non-empty value, no-color.org) and whether stdout is a terminal.
TextStyle text_style(const Options& options);

/// Writes to --output (a new file that replaces the old one whole) or to stdout.
/// Throws Error{bad_input} where that fails.
void write_result(const Options& options, std::string_view text);

/// Talk on stderr, unless --quiet.
void say(const Options& options, std::string_view text);

}  // namespace memplan
