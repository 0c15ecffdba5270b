// Limits on the errors of a validation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "report/validation.h"

namespace memplan {

/// "peak.*:max=1%", "activations:exact=90%", "trace fake@peak_at.*:exact=95%".
struct Bound {
  std::string text;            ///< as it was given
  std::string source, figure;  ///< '*' stands for any characters
  std::string statistic;
  double limit = 0;
};

/// Reads [SOURCE@]FIGURE:STATISTIC=VALUE; VALUE is a fraction or a percentage. Without a source the
/// rows over all sources are meant. Throws Error{bad_input} naming `where`.
Bound parse_bound(std::string_view text, std::string_view where);

/// A sentence for each row that breaks the bound: "exact" and "within…" are least shares, all
/// others most errors. A row without a case, and a bound that no row answers, break it too.
std::vector<std::string> broken(const Bound& bound, const std::vector<ErrorRow>& rows);

}  // namespace memplan
