// The commands. Each gets the words behind its name and returns the exit code.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace memplan {

using Words = std::vector<std::string>;

int run_fit(const Words& words);
int run_show(const Words& words);
int run_show_zero3(const Words& words);  ///< `show zero3`, which takes options of its own
int run_calibrate(const Words& words);
int run_compare(const Words& words);
int run_validate(const Words& words);

struct Command {
  std::string_view name, arguments, summary;
  int (*run)(const Words&);  ///< null: named in the interface, not available yet
};

}  // namespace memplan
