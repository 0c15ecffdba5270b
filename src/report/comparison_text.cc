// A comparison on one screen.
#include <fmt/format.h>

#include <algorithm>

#include "report/comparison.h"
#include "report/memory_table.h"
#include "report/table.h"

namespace memplan {
namespace {

constexpr size_t kTitleWidth = 28;
constexpr size_t kNamedCauses = 3;

std::string signed_text(Bytes difference) {
  if (difference == Bytes(0)) return "=";
  const bool less = difference < Bytes(0);
  return (less ? "-" : "+") + fine_size_text(less ? Bytes(0) - difference : difference);
}

std::string present(Bytes bytes) { return bytes == Bytes(0) ? "-" : fine_size_text(bytes); }

std::string answer_text(const Verdict& verdict) {
  if (!verdict.fits) return "cannot be told";
  return std::string(to_string(verdict.risk));
}

std::string rank_text(const RankPlan& rank) {
  return rank.role.empty() ? fmt::format("{}", rank.rank)
                           : fmt::format("{}, {}", rank.rank, rank.role);
}

std::string peak_text(const RankPlan& rank) {
  if (rank.peak_operator.empty() || rank.peak_operator == rank.peak_phase) return rank.peak_phase;
  return shorten(rank.peak_phase + ", " + rank.peak_operator, kTitleWidth);
}

std::vector<Cell> cells(std::string label, std::string a, std::string b, std::string difference,
                        Ink ink = Ink::plain) {
  return {{std::move(label), ink},
          {std::move(a), ink},
          {std::move(b), ink},
          {std::move(difference), ink}};
}

Table columns() { return Table({Align::left, Align::right, Align::right, Align::right}); }

// "B needs 3.00 GiB more than A: +4.00 GiB gradients, -1.00 GiB gathered layers".
std::string cause(const Comparison& comparison, Bytes difference) {
  if (difference == Bytes(0)) return "A and B need the same.";
  std::vector<ComparedLine> lines;
  for (const ComparedLine& line : comparison.lines)
    if (line.difference() != Bytes(0)) lines.push_back(line);
  const auto size = [](const ComparedLine& l) {
    return std::max(l.difference(), Bytes(0) - l.difference());
  };
  std::ranges::stable_sort(lines, std::ranges::greater(), size);
  const bool more = difference > Bytes(0);
  std::string out =
      fmt::format("B needs {} {} than A", fine_size_text(more ? difference : Bytes(0) - difference),
                  more ? "more" : "less");
  for (size_t i = 0; i < std::min(lines.size(), kNamedCauses); ++i)
    out += fmt::format("{} {} of {}", i == 0 ? ":" : ",", signed_text(lines[i].difference()),
                       lines[i].label);
  if (lines.size() > kNamedCauses)
    out += fmt::format(", and {} smaller difference{}", lines.size() - kNamedCauses,
                       lines.size() > kNamedCauses + 1 ? "s" : "");
  return out + '.';
}

std::string memory(const ComparedReport& a, const ComparedReport& b) {
  Table table = columns();
  for (const MemoryLine& line : memory_lines()) {
    const Bytes in_a = a.rank.memory.*line.bytes, in_b = b.rank.memory.*line.bytes;
    if (!line.total && in_a == Bytes(0) && in_b == Bytes(0)) continue;
    table.add(cells((line.total ? "" : "  ") + std::string(line.label), size_text(in_a),
                    size_text(in_b), signed_text(in_b - in_a),
                    line.total ? Ink::bold : Ink::plain));
  }
  return table.render(2, false);
}

// Rows that differ, each part under its name; nothing where none does.
std::string differing(std::string_view heading, const std::vector<ComparedLine>& lines) {
  Table table = columns();
  std::string part;
  size_t alike = 0;
  for (const ComparedLine& line : lines) {
    if (line.difference() == Bytes(0)) {
      ++alike;
      continue;
    }
    if (!line.label.empty() && line.part != part) table.add({{part = line.part}});
    table.add(cells(line.label.empty() ? line.part : "  " + line.label, present(line.a),
                    present(line.b), signed_text(line.difference())));
  }
  if (table.empty()) return {};
  std::string out = fmt::format("\n{}\n{}", heading, table.render(2, false));
  if (alike > 0) out += fmt::format("  and {} alike\n", alike);
  return out;
}

std::string settings(const std::vector<ChangedSetting>& changes) {
  if (changes.empty()) return "\nNo setting differs.\n";
  Table table({Align::left, Align::right, Align::right});
  for (const ChangedSetting& change : changes)
    table.add({{change.key}, {shorten(change.a, kTitleWidth)}, {shorten(change.b, kTitleWidth)}});
  return "\nSettings that differ\n" + table.render(2, false);
}

}  // namespace

std::string render_comparison(const ComparedReport& a, const ComparedReport& b,
                              const TextStyle& style) {
  const Comparison comparison = compare(a, b);
  Table head = columns();
  head.add(cells("", "A", "B", "B - A", Ink::bold));
  head.add(cells("report", shorten(a.title, kTitleWidth), shorten(b.title, kTitleWidth), ""));
  head.add({{"verdict"},
            {answer_text(a.verdict), ink_of(a.verdict)},
            {answer_text(b.verdict), ink_of(b.verdict)}});
  head.add(cells("GPU memory", size_text(a.verdict.capacity), size_text(b.verdict.capacity),
                 signed_text(b.verdict.capacity - a.verdict.capacity)));
  head.add(cells("rank compared", rank_text(a.rank), rank_text(b.rank), ""));
  head.add(cells("peak in", peak_text(a.rank), peak_text(b.rank), ""));
  std::string out = head.render(0, style.color);
  out += settings(comparison.settings);
  out += "\nMemory at the peak\n" + memory(a, b);
  out +=
      '\n' + wrap(cause(comparison, b.rank.memory.device - a.rank.memory.device), "", style.width);
  out += differing("Line by line", comparison.lines);
  out += differing("Allocated by phase", comparison.phases);
  out += differing("Sent by a GPU in one step", comparison.communication);
  return out;
}

}  // namespace memplan
