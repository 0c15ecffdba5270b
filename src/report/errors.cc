// The statistics of errors.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "report/validation.h"

namespace memplan {
namespace {

constexpr std::string_view kRefused = "refused";
constexpr std::string_view kPeakAt = "peak_at.";
constexpr std::string_view kUncommonAt = "uncommon_at.";

double number(const FigureValue& value) {
  if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
  if (const auto* rounded = std::get_if<double>(&value)) return *rounded;
  return 0;
}

double mean_of(const std::vector<double>& errors, double (*of)(double)) {
  double sum = 0;
  for (double error : errors) sum += of(error);
  return sum / static_cast<double>(errors.size());
}

// Errors are sorted by size: the share of a whole at rank ceil(share · n).
double ranked(const std::vector<double>& errors, double share) {
  const auto count = static_cast<double>(errors.size());
  const auto rank = static_cast<size_t>(std::max(1.0, std::ceil(share * count)));
  return std::abs(errors[rank - 1]);
}

double median(const std::vector<double>& errors) {
  const size_t half = errors.size() / 2;
  if (errors.size() % 2 == 1) return std::abs(errors[half]);
  return (std::abs(errors[half - 1]) + std::abs(errors[half])) / 2;
}

struct Statistic {
  std::string_view name;
  double (*of)(const std::vector<double>&);
};
constexpr std::array<Statistic, 7> kStatistics{{
    {"mean", [](const auto& e) { return mean_of(e, [](double x) { return std::abs(x); }); }},
    {"median", median},
    {"p95", [](const auto& e) { return ranked(e, 0.95); }},
    {"max", [](const auto& e) { return std::abs(e.back()); }},
    {"bias", [](const auto& e) { return mean_of(e, [](double x) { return x; }); }},
    {"under", [](const auto& e) { return mean_of(e, [](double x) { return x < 0 ? 1.0 : 0.0; }); }},
    {"exact",
     [](const auto& e) { return mean_of(e, [](double x) { return x == 0 ? 1.0 : 0.0; }); }},
}};

// "within0.1%" -> 0.001.
std::optional<double> within_limit(std::string_view name) {
  constexpr std::string_view kWithin = "within";
  if (!name.starts_with(kWithin) || !name.ends_with('%')) return {};
  name.remove_prefix(kWithin.size());
  name.remove_suffix(1);
  double percent = 0;
  const auto [end, status] = std::from_chars(name.data(), name.data() + name.size(), percent);
  if (status != std::errc() || end != name.data() + name.size() || !(percent >= 0)) return {};
  return percent / 100;
}

using Group = std::vector<const CaseFigure*>;

ErrorRow row_of(std::string source, std::string figure, const Group& group) {
  ErrorRow row{std::move(source), std::move(figure), 0, {}};
  for (const CaseFigure* one : group) {
    if (one->refused.empty())
      row.errors.push_back(relative_error(*one));
    else
      ++row.refused;
  }
  std::ranges::sort(row.errors, {}, [](double e) { return std::abs(e); });
  return row;
}

// The group without refusals and without its commonest name.
Group uncommon(const Group& group) {
  std::vector<std::pair<std::string, int64_t>> names;
  for (const CaseFigure* one : group) {
    const auto* name = std::get_if<std::string>(&one->measured);
    if (!one->refused.empty() || name == nullptr) continue;
    auto known = std::ranges::find(names, *name, &std::pair<std::string, int64_t>::first);
    if (known == names.end()) known = names.insert(names.end(), {*name, 0});
    ++known->second;
  }
  const auto commonest =
      std::ranges::max_element(names, {}, [](const auto& n) { return n.second; });
  Group out;
  for (const CaseFigure* one : group) {
    const auto* name = std::get_if<std::string>(&one->measured);
    if (one->refused.empty() && name != nullptr && *name != commonest->first) out.push_back(one);
  }
  return out;
}

void add_rows(const std::vector<CaseFigure>& figures, std::string_view source,
              std::vector<ErrorRow>& rows) {
  std::vector<std::pair<std::string_view, Group>> groups;
  for (const CaseFigure& one : figures) {
    if (source != kAllSources && one.source != source) continue;
    const std::string_view figure = one.figure;
    auto group = std::ranges::find(groups, figure, [](const auto& g) { return g.first; });
    if (group == groups.end()) group = groups.insert(groups.end(), {figure, {}});
    group->second.push_back(&one);
  }
  for (const auto& [figure, group] : groups)
    rows.push_back(row_of(std::string(source), std::string(figure), group));
  for (const auto& [figure, group] : groups) {
    if (!figure.starts_with(kPeakAt)) continue;
    const Group rest = uncommon(group);
    if (rest.empty()) continue;
    const std::string_view phase = figure.substr(kPeakAt.size());
    rows.push_back(
        row_of(std::string(source), std::string(kUncommonAt) + std::string(phase), rest));
  }
}

}  // namespace

double relative_error(const CaseFigure& figure) {
  if (std::holds_alternative<std::string>(figure.measured) || figure.measured == figure.predicted)
    return figure.measured == figure.predicted ? 0 : 1;
  const double measured = number(figure.measured);
  if (measured == 0) return number(figure.predicted) == 0 ? 0 : 1;
  return (number(figure.predicted) - measured) / std::abs(measured);
}

std::optional<double> statistic(const ErrorRow& row, std::string_view name) {
  if (name == kRefused && row.cases() + row.refused > 0)
    return static_cast<double>(row.refused) / static_cast<double>(row.cases() + row.refused);
  if (row.errors.empty()) return {};
  for (const Statistic& known : kStatistics)
    if (known.name == name) return known.of(row.errors);
  const auto limit = within_limit(name);
  if (!limit) return {};
  const auto inside =
      std::ranges::count_if(row.errors, [&](double e) { return std::abs(e) <= *limit; });
  return static_cast<double>(inside) / static_cast<double>(row.cases());
}

bool is_statistic(std::string_view name) {
  return name == kRefused || within_limit(name) ||
         std::ranges::find(kStatistics, name, &Statistic::name) != kStatistics.end();
}

std::vector<std::string_view> statistic_names() {
  std::vector<std::string_view> names;
  for (const Statistic& known : kStatistics) names.push_back(known.name);
  names.push_back(kRefused);
  names.push_back("within0.1%");
  return names;
}

std::vector<ErrorRow> error_rows(const std::vector<CaseFigure>& figures) {
  std::vector<std::string_view> sources;
  for (const CaseFigure& one : figures)
    if (std::ranges::find(sources, one.source) == sources.end()) sources.push_back(one.source);
  std::vector<ErrorRow> rows;
  for (std::string_view source : sources) add_rows(figures, source, rows);
  add_rows(figures, kAllSources, rows);
  return rows;
}

}  // namespace memplan
