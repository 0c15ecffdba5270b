// The error table as text and as Markdown.
#include "report/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "report/table.h"

namespace memplan {
namespace {

constexpr size_t kSourceWidth = 40;  // of the names of papers

struct Column {
  std::string_view title;
  std::string_view statistic;
};
constexpr std::array<Column, 7> kColumns{{{"mean", "mean"},
                                          {"median", "median"},
                                          {"p95", "p95"},
                                          {"max", "max"},
                                          {"bias", "bias"},
                                          {"under", "under"},
                                          {"exact", "exact"}}};

std::string percent(std::optional<double> share) {
  if (!share) return "-";
  const double value = *share * 100;
  if (value == 0) return "0 %";
  // Not to be taken for exact.
  if (value > -0.001 && value < 0.001) return value > 0 ? "<0.001 %" : ">-0.001 %";
  return fmt::format("{:.3f} %", value);
}

// Shares of cases need no thousandths.
std::string cell_text(const ErrorRow& row, std::string_view name) {
  const auto value = statistic(row, name);
  if (value && (name == "under" || name == "exact")) return fmt::format("{:.1f} %", *value * 100);
  return percent(value);
}

std::string value_text(const FigureValue& value) {
  if (const auto* whole = std::get_if<int64_t>(&value)) return format_count(*whole);
  if (const auto* rounded = std::get_if<double>(&value))
    return format_count(static_cast<int64_t>(*rounded));
  return visible(std::get<std::string>(value));
}

// Rows that tell something: "all" repeats the only source there is, and what was refused whole
// stands below with its reason.
std::vector<ErrorRow> shown_rows(const std::vector<CaseFigure>& figures) {
  std::vector<ErrorRow> rows = error_rows(figures);
  std::erase_if(rows, [](const ErrorRow& r) { return r.errors.empty(); });
  const bool one = std::ranges::all_of(rows, [&](const ErrorRow& r) {
    return r.source == kAllSources || r.source == rows[0].source;
  });
  if (one) std::erase_if(rows, [](const ErrorRow& r) { return r.source == kAllSources; });
  return rows;
}

std::vector<std::string> titles() {
  std::vector<std::string> out = {"source", "figure", "cases", "refused"};
  for (const Column& column : kColumns) out.emplace_back(column.title);
  return out;
}

std::vector<std::string> cells_of(const ErrorRow& row) {
  std::vector<std::string> out = {shorten(visible(row.source), kSourceWidth), visible(row.figure),
                                  format_count(row.cases()), format_count(row.refused)};
  for (const Column& column : kColumns) out.push_back(cell_text(row, column.statistic));
  return out;
}

// Why cases were refused, and how many for each reason.
struct Refusal {
  std::string source, reason;
  std::set<std::string_view> ids;
};
std::vector<Refusal> refusals(const std::vector<CaseFigure>& figures) {
  std::vector<Refusal> out;
  for (const CaseFigure& one : figures) {
    if (one.refused.empty()) continue;
    auto known = std::ranges::find_if(
        out, [&](const Refusal& r) { return r.source == one.source && r.reason == one.refused; });
    if (known == out.end()) known = out.insert(out.end(), {one.source, one.refused, {}});
    known->ids.insert(one.id);
  }
  return out;
}

std::string case_list(const std::vector<CaseFigure>& figures, const TextStyle& style) {
  using enum Align;
  Table table({left, left, right, right, right, left});
  table.add({{"case", Ink::bold},
             {"figure", Ink::bold},
             {"measured", Ink::bold},
             {"predicted", Ink::bold},
             {"error", Ink::bold}});
  for (const CaseFigure& one : figures) {
    std::vector<Cell> cells = {{visible(one.id)}, {visible(one.figure)}};
    if (one.refused.empty()) {
      const double error = relative_error(one);
      const bool name = std::holds_alternative<std::string>(one.measured);
      cells.push_back({value_text(one.measured)});
      cells.push_back({value_text(one.predicted)});
      cells.push_back({name ? (error == 0 ? "right" : "wrong") : percent(error),
                       error == 0 ? Ink::plain : Ink::yellow});
    } else {
      cells.resize(5);
      cells.push_back({visible(one.refused), Ink::dim});
    }
    table.add(std::move(cells));
  }
  return table.render(0, style.color) + '\n';
}

std::string markdown_line(const std::vector<std::string>& cells) {
  std::string out = "|";
  for (std::string cell : cells) {
    for (size_t at = cell.find('|'); at != cell.npos; at = cell.find('|', at + 2))
      cell.insert(at, "\\");
    out += ' ' + cell + " |";
  }
  return out + '\n';
}

}  // namespace

std::string render_validation(const std::vector<CaseFigure>& figures,
                              const ValidationStyle& style) {
  std::string out = style.cases ? case_list(figures, style.text) : "";
  std::vector<Align> columns(titles().size(), Align::right);
  columns[0] = columns[1] = Align::left;
  Table table(columns);
  std::vector<Cell> head;
  for (std::string& title : titles()) head.push_back({std::move(title), Ink::bold});
  table.add(std::move(head));
  for (const ErrorRow& row : shown_rows(figures)) {
    std::vector<Cell> cells;
    for (std::string& text : cells_of(row)) cells.push_back({std::move(text)});
    table.add(std::move(cells));
  }
  out += table.render(0, style.text.color);
  if (figures.empty() || shown_rows(figures).empty()) out += "no case was predicted\n";

  Table why({Align::left, Align::right, Align::left}, style.text.width);
  for (const Refusal& refusal : refusals(figures))
    why.add({{shorten(visible(refusal.source), kSourceWidth)},
             {format_count(static_cast<int64_t>(refusal.ids.size()))},
             {visible(refusal.reason)}});
  if (!why.empty())
    out += '\n' + paint("Refused", Ink::bold, style.text.color) + '\n' +
           why.render(2, style.text.color);
  return out;
}

std::string render_validation_markdown(const std::vector<CaseFigure>& figures) {
  const std::vector<std::string> head = titles();
  std::vector<std::string> rule(head.size(), "--:");
  rule[0] = rule[1] = "---";
  std::string out = markdown_line(head) + markdown_line(rule);
  for (const ErrorRow& row : shown_rows(figures)) out += markdown_line(cells_of(row));
  const std::vector<Refusal> refused = refusals(figures);
  if (refused.empty()) return out;
  out +=
      '\n' + markdown_line({"source", "refused", "reason"}) + markdown_line({"---", "--:", "---"});
  for (const Refusal& refusal : refused)
    out += markdown_line({visible(refusal.source),
                          format_count(static_cast<int64_t>(refusal.ids.size())),
                          visible(refusal.reason)});
  return out;
}

}  // namespace memplan
