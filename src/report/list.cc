// A list of jobs in one table, a row each.
#include <fmt/format.h>

#include <algorithm>

#include "report/memory_table.h"
#include "report/report.h"
#include "report/table.h"

namespace memplan {
namespace {

std::string verdict_text(const Verdict& v) {
  if (!v.fits) return "states fit";
  return std::string(to_string(v.risk));
}

Bytes sent(const Plan& plan) {
  Bytes total;
  for (const Traffic& row : plan.communication) total += row.bytes_sent_per_gpu;
  return total;
}

bool idles(const Answer& answer) { return answer.plan && answer.plan->step.bubble_fraction > 0; }

void add_plan(std::vector<Cell>& cells, const Plan& plan, bool with_bubble) {
  const Verdict& v = plan.verdict;
  const RankMemory& m = plan.ranks[static_cast<size_t>(v.worst_rank)].memory;
  const Bytes states = m.weights + m.gradients + m.optimizer;
  for (Bytes bytes : {states, m.activations, m.transient + m.buffers})
    cells.push_back({size_text(bytes)});
  cells.push_back({size_text(m.device), ink_of(v)});
  cells.push_back({size_text(v.headroom()), v.headroom() < Bytes(0) ? Ink::red : Ink::plain});
  cells.push_back({size_text(sent(plan))});
  if (with_bubble) cells.push_back({fmt::format("{:.1f} %", plan.step.bubble_fraction * 100)});
  cells.push_back({verdict_text(v), ink_of(v)});
}

}  // namespace

std::string render_list(const Report& report, const TextStyle& style) {
  const bool with_bubble = std::ranges::any_of(report.answers, idles);
  const size_t figures = with_bubble ? 7 : 6;
  std::vector<Align> columns(report.varied.size() + figures, Align::right);
  columns.push_back(Align::left);
  Table table(columns);

  std::vector<Cell> titles;
  for (const std::string& option : report.varied) titles.push_back({option, Ink::bold});
  for (const char* title : {"states", "activations", "transient", "device", "free", "sent"})
    titles.push_back({title, Ink::bold});
  if (with_bubble) titles.push_back({"bubble", Ink::bold});
  titles.push_back({"verdict", Ink::bold});
  table.add(std::move(titles));

  std::vector<std::string> refusals;
  for (const Answer& answer : report.answers) {
    std::vector<Cell> cells;
    for (const std::string& value : answer.values) cells.push_back({visible(value)});
    if (answer.plan) {
      add_plan(cells, *answer.plan, with_bubble);
    } else {
      cells.resize(report.varied.size() + figures);
      auto known = std::find(refusals.begin(), refusals.end(), answer.refused);
      if (known == refusals.end()) known = refusals.insert(known, answer.refused);
      cells.push_back({fmt::format("refused [{}]", known - refusals.begin() + 1), Ink::dim});
    }
    table.add(std::move(cells));
  }
  std::string out = table.render(0, style.color);
  for (size_t i = 0; i < refusals.size(); ++i)
    out += wrap(visible(refusals[i]), fmt::format("[{}] ", i + 1), style.width);
  return out;
}

}  // namespace memplan
