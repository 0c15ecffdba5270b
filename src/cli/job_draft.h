// A job while its settings are put together.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/job_options.h"
#include "cli/settings.h"

namespace memplan {

struct JobDraft {
  const std::vector<Given>& settings;
  BuiltJob built;

  /// Nothing where nobody gave it.
  const Given* find(std::string_view option) const;
  void apply(const SettingRow& row, const Given& setting);
  /// Where the value of `key` comes from, in place of what was said before.
  void from(std::string key, std::string origin);
  void assume(std::string what);
};

}  // namespace memplan
