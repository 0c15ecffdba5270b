#include "cli/bound.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/text.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr std::string_view kForm = "write FIGURE:STATISTIC=VALUE, as in 'peak.*:max=1%'";

// '*' takes as little as lets the rest fit, and more where that fails: only the last one ever has
// to.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0;
  size_t star = pattern.npos, taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

bool is_least(std::string_view statistic) {
  return statistic == "exact" || statistic.starts_with("within");
}

double parse_limit(std::string_view text, std::string_view where) {
  std::string_view digits = text;
  const bool percent = digits.ends_with('%');
  if (percent) digits.remove_suffix(1);
  double value = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (status != std::errc() || end != digits.data() + digits.size() || !std::isfinite(value) ||
      value < 0)
    throw Error(ErrorKind::bad_input, std::string(where), quoted(printable(text)) + " is no limit",
                "write 1% or 0.01");
  return percent ? value / 100 : value;
}

}  // namespace

Bound parse_bound(std::string_view text, std::string_view where) {
  const auto bad = [&](std::string problem, std::string hint = std::string(kForm)) {
    return Error(ErrorKind::bad_input, std::string(where), std::move(problem), std::move(hint));
  };
  Bound out;
  out.text = std::string(text);
  const size_t equals = text.rfind('=');
  const size_t colon = text.substr(0, equals).rfind(':');
  if (equals == text.npos || colon == text.npos || colon == 0)
    throw bad(quoted(printable(text)) + " is no bound");
  const std::string_view row = text.substr(0, colon);
  const size_t at = row.find('@');
  out.source = at == row.npos ? std::string(kAllSources) : std::string(row.substr(0, at));
  out.figure = std::string(at == row.npos ? row : row.substr(at + 1));
  out.statistic = std::string(text.substr(colon + 1, equals - colon - 1));
  if (!is_statistic(out.statistic))
    throw bad("there is no statistic " + quoted(printable(out.statistic)),
              name_hint(out.statistic, statistic_names()));
  out.limit = parse_limit(text.substr(equals + 1), where);
  return out;
}

std::vector<std::string> broken(const Bound& bound, const std::vector<ErrorRow>& rows) {
  std::vector<std::string> out;
  bool met = false;
  for (const ErrorRow& row : rows) {
    if (!matches(bound.figure, row.figure) || !matches(bound.source, row.source)) continue;
    met = true;
    const auto value = statistic(row, bound.statistic);
    if (!value) {
      out.push_back(
          fmt::format("{}: {} has no answered case in {}", bound.text, row.figure, row.source));
      continue;
    }
    const bool least = is_least(bound.statistic);
    // bias is signed; its size is bounded.
    if (least ? *value >= bound.limit : std::abs(*value) <= bound.limit) continue;
    out.push_back(fmt::format("{}: {} of {} is {:.4g} %, {} cases of {}", bound.text,
                              bound.statistic, row.figure, *value * 100, row.cases(), row.source));
  }
  if (!met) out.push_back(bound.text + ": no case has such a figure");
  return out;
}

}  // namespace memplan
