// Two reports side by side: what differs, line by line.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "report/report.h"

namespace memplan {

/// What a saved report says of one job and one of its ranks.
struct ComparedReport {
  std::string title;  ///< the file, or the values of a list: "--zero 3"
  std::vector<std::pair<std::string, std::string>> settings;  ///< `request`, as text
  Verdict verdict;                                            ///< worst_rank is the rank's number
  RankPlan rank;                                              ///< the one that is compared
  std::vector<Traffic> communication;
  std::vector<std::string> not_modelled;
};

/// One thing in both reports; 0 bytes where a report does not have it.
struct ComparedLine {
  std::string part;   ///< a holder, a phase or a group of ranks
  std::string label;  ///< "weights, TP-sharded"
  Bytes a, b;
  Bytes difference() const { return b - a; }
};

struct ChangedSetting {
  std::string key, a, b;  ///< "-" where a report does not have it
};

struct Comparison {
  std::vector<ChangedSetting> settings;     ///< those that differ
  std::vector<ComparedLine> lines;          ///< of memory, largest difference first in each holder
  std::vector<ComparedLine> phases;         ///< allocated
  std::vector<ComparedLine> communication;  ///< sent by a GPU in one step
};

Comparison compare(const ComparedReport& a, const ComparedReport& b);

/// One screen for people.
std::string render_comparison(const ComparedReport& a, const ComparedReport& b,
                              const TextStyle& style);
std::string render_comparison_json(const ComparedReport& a, const ComparedReport& b);

}  // namespace memplan
