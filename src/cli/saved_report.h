// Reports of `memplan fit --json`, read back.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/comparison.h"

namespace memplan {

/// The report in `path`, or both where it answers for a list of two jobs. Of each the rank of that
/// number, by default the worst. Throws Error{bad_input} where the file is no report, has another
/// schema, a job that was refused, or no such rank.
std::vector<ComparedReport> read_saved_reports(const std::string& path,
                                               std::optional<int64_t> rank);

}  // namespace memplan
