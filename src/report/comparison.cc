#include "report/comparison.h"

#include <algorithm>

namespace memplan {
namespace {

Bytes size_of_difference(const ComparedLine& line) {
  return std::max(line.difference(), Bytes(0) - line.difference());
}

// Adds to the line of that name, or begins it.
void add(std::vector<ComparedLine>& lines, std::string part, std::string label,
         Bytes ComparedLine::*side, Bytes bytes) {
  auto line = std::ranges::find_if(
      lines, [&](const ComparedLine& l) { return l.part == part && l.label == label; });
  if (line == lines.end())
    line = lines.insert(line, {std::move(part), std::move(label), Bytes(0), Bytes(0)});
  (*line).*side += bytes;
}

void add_memory(std::vector<ComparedLine>& lines, const RankPlan& rank, Bytes ComparedLine::*side) {
  for (const LedgerLine& line : rank.lines)
    add(lines, std::string(to_string(line.holder)), line.label, side, line.bytes);
  for (const LedgerLine& line : rank.outside)
    add(lines, "outside PyTorch", line.label, side, line.bytes);
}

// Parts stay in the order of their first lines; within one, the largest difference comes first.
void sort_within_parts(std::vector<ComparedLine>& lines) {
  std::vector<std::string> parts;
  for (const ComparedLine& line : lines)
    if (std::ranges::find(parts, line.part) == parts.end()) parts.push_back(line.part);
  const auto place = [&](const ComparedLine& l) { return std::ranges::find(parts, l.part); };
  std::ranges::stable_sort(lines, [&](const ComparedLine& x, const ComparedLine& y) {
    if (x.part != y.part) return place(x) < place(y);
    return size_of_difference(x) > size_of_difference(y);
  });
}

std::string value_of(const ComparedReport& report, const std::string& key) {
  for (const auto& [name, value] : report.settings)
    if (name == key) return value;
  return "-";
}

std::vector<ChangedSetting> changed(const ComparedReport& a, const ComparedReport& b) {
  std::vector<ChangedSetting> out;
  const auto look = [&](const ComparedReport& report) {
    for (const auto& [key, value] : report.settings) {
      if (std::ranges::find(out, key, &ChangedSetting::key) != out.end()) continue;
      const ChangedSetting both{key, value_of(a, key), value_of(b, key)};
      if (both.a != both.b) out.push_back(both);
    }
  };
  look(a);
  look(b);
  return out;
}

}  // namespace

Comparison compare(const ComparedReport& a, const ComparedReport& b) {
  Comparison out;
  out.settings = changed(a, b);
  for (const auto& [report, side] :
       {std::pair(&a, &ComparedLine::a), std::pair(&b, &ComparedLine::b)}) {
    add_memory(out.lines, report->rank, side);
    for (const PhasePeak& phase : report->rank.phases)
      add(out.phases, phase.phase, "", side, phase.allocated);
    for (const Traffic& row : report->communication)
      add(out.communication, row.group, row.collective + ", " + row.what + ", " + row.phase, side,
          row.bytes_sent_per_gpu);
  }
  sort_within_parts(out.lines);
  sort_within_parts(out.communication);
  return out;
}

}  // namespace memplan
