// Answers as documents. Every format is a function of the same Report; none prints.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "memplan/plan.h"

namespace memplan {

inline constexpr int kSchemaVersion = 1;  ///< of JSON documents

/// Where the value of a setting came from: "command line", a file, "default: …".
struct Origin {
  std::string key;  ///< of settings_of()
  std::string from;
};

/// One job's answer, or why there is none.
struct Answer {
  std::vector<std::string> values;  ///< of Report::varied, as they were given
  std::optional<Plan> plan;
  std::string refused;  ///< the error's message where there is no plan
  int exit_code = 0;    ///< of that error
  std::vector<Origin> origins;
};

/// What `memplan fit` has to say. One answer, or one for each value of the lists.
struct Report {
  std::vector<std::string> varied;  ///< options that were given lists: "--tp"
  std::vector<Answer> answers;      ///< one where `varied` is empty
};

struct TextStyle {
  bool color = false;
  size_t width = 100;  ///< columns; longer sentences are wrapped, tables are not
};

struct Format {
  std::string_view name;
  std::string_view meaning;
  std::string (*render)(const Report&, const TextStyle&);
};
std::span<const Format> formats();
/// Throws Error{bad_input} with the nearest name.
const Format& find_format(std::string_view name);

/// One screen for people.
std::string render_text(const Plan& plan, const TextStyle& style);
/// The answers to a list of jobs, a row each.
std::string render_list(const Report& report, const TextStyle& style);
/// Every line of every rank with formula and source, and where each setting came from.
std::string render_explanation(const Answer& answer, const TextStyle& style);
/// The document that scripts read; one object for a job, an object with `reports` for a list.
std::string render_json(const Report& report);

}  // namespace memplan
