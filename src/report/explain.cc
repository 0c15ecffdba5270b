// Where each byte comes from, and where each setting does.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "report/memory_table.h"
#include "report/report.h"
#include "report/request.h"
#include "report/table.h"

namespace memplan {
namespace {

void add_lines(Table& table, const std::vector<LedgerLine>& lines, bool with_holder) {
  for (const LedgerLine& line : lines)
    table.add({{with_holder ? std::string(to_string(line.holder)) : std::string("outside")},
               {line.label},
               {size_text(line.bytes)},
               {line.formula}});
}

Bytes sum(const std::vector<LedgerLine>& lines) {
  Bytes total;
  for (const LedgerLine& line : lines) total += line.bytes;
  return total;
}

std::string ledger(const RankKind& kind, const Plan& plan, const TextStyle& style) {
  const RankPlan& rank = *kind.first;
  std::string out =
      '\n' +
      paint(fmt::format("Memory of {}, at its peak in {}", kind_title(kind, plan), rank.peak_phase),
            Ink::bold, style.color) +
      '\n';
  using enum Align;
  Table table({left, left, right, left}, style.width);
  add_lines(table, rank.lines, true);
  table.add({{"allocated", Ink::bold}, {}, {size_text(rank.memory.allocated), Ink::bold}});
  if (rank.memory.reserved != rank.memory.allocated)
    table.add({{"reserved", Ink::bold}, {}, {size_text(rank.memory.reserved), Ink::bold}});
  add_lines(table, rank.outside, false);
  table.add({{"device", Ink::bold}, {}, {size_text(rank.memory.device), Ink::bold}});
  out += table.render(2, style.color);
  if (sum(rank.lines) != rank.memory.allocated)
    out += "  (the lines do not sum to what is allocated: please report this job)\n";
  if (rank.host.pinned + rank.host.pageable + rank.host.nvme > Bytes(0))
    out += fmt::format("  outside the GPU: {} pinned, {} pageable host memory, {} NVMe\n",
                       size_text(rank.host.pinned), size_text(rank.host.pageable),
                       size_text(rank.host.nvme));
  return out;
}

std::string phases(const RankKind& kind, const TextStyle& style) {
  Table table({Align::left, Align::right, Align::right, Align::right, Align::left});
  table.add({{"phase"}, {"allocated"}, {"reserved"}, {"device"}, {"highest at"}});
  for (const PhasePeak& phase : kind.first->phases)
    table.add({{phase.phase},
               {size_text(phase.allocated)},
               {size_text(phase.reserved)},
               {size_text(phase.device)},
               {phase.at}});
  return table.render(2, style.color);
}

std::string largest(const RankKind& kind, const TextStyle& style) {
  if (kind.first->largest.empty()) return {};
  Table table({Align::left, Align::right, Align::left});
  for (const LedgerLine& line : kind.first->largest)
    table.add({{line.label}, {size_text(line.bytes)}, {line.formula}});
  return "  largest tensors kept\n" + table.render(4, style.color);
}

std::string shape_text(const std::vector<int64_t>& sizes) {
  return sizes.empty() ? "1" : fmt::format("{}", fmt::join(sizes, " × "));
}

std::string sharding(const Plan& plan, const TextStyle& style) {
  std::string out;
  const auto title = [&](const char* text) {
    out += '\n' + paint(text, Ink::bold, style.color) + '\n';
  };
  using enum Align;
  if (!plan.groups.empty()) {
    title("Process groups of rank 0");
    Table table({left, right, left, left, left}, style.width);
    table.add({{"group"}, {"GPUs"}, {"axes"}, {"ranks"}});
    for (const ProcessGroup& group : plan.groups)
      table.add({{group.name},
                 {format_count(group.ranks)},
                 {group.axes},
                 {group.members},
                 {group.crosses_nodes ? "over the network" : ""}});
    out += table.render(2, style.color);
  }
  if (plan.sharding.empty() || plan.job.cluster.gpus == 1) return out;
  title("How parameters are cut");
  Table table({left, right, left, left, left, left}, style.width);
  table.add({{"parameter"}, {"times"}, {"of"}, {"on a GPU"}, {"rule"}, {"reduced over"}});
  for (const ShardingRule& rule : plan.sharding)
    table.add({{visible(rule.tensor)},
               {format_count(rule.times)},
               {shape_text(rule.shape)},
               {rule.local == rule.shape ? "" : shape_text(rule.local)},
               {rule.rule},
               {rule.group}});
  out += table.render(2, style.color);
  constexpr std::array<std::string_view, 4> kDivided = {"", "optimizer states",
                                                        "gradients and optimizer states",
                                                        "weights, gradients and optimizer states"};
  const std::string_view divided = kDivided.at(static_cast<size_t>(plan.job.strategy.zero));
  if (!divided.empty())
    out += fmt::format("  ZeRO-{}: {} are divided over the group that reduces\n",
                       plan.job.strategy.zero, divided);
  return out;
}

// What each source stands for, once.
std::string sources(const Plan& plan, const TextStyle& style) {
  struct Use {
    std::string source, labels;
    size_t count = 0;
  };
  constexpr size_t kLabels = 3;
  std::vector<Use> uses;
  std::vector<std::string> seen;
  const auto note = [&](const std::string& label, const std::string& source) {
    if (source.empty()) return;
    if (std::find(seen.begin(), seen.end(), label + '\n' + source) != seen.end()) return;
    seen.push_back(label + '\n' + source);
    auto use =
        std::find_if(uses.begin(), uses.end(), [&](const Use& u) { return u.source == source; });
    if (use == uses.end()) use = uses.insert(uses.end(), {source, {}, 0});
    if (++use->count <= kLabels) use->labels += (use->count > 1 ? ", " : "") + label;
    if (use->count == kLabels + 1) use->labels += ", …";
  };
  note("model", plan.job.model.source);
  note("GPU", plan.job.cluster.gpu.source);
  for (const RankPlan& rank : plan.ranks) {
    for (const LedgerLine& line : rank.lines) note(line.label, line.source);
    for (const LedgerLine& line : rank.outside) note(line.label, line.source);
  }
  Table table({Align::left, Align::left}, style.width);
  for (const Use& use : uses)
    table.add({{shorten(visible(use.labels), 40)}, {visible(use.source)}});
  return '\n' + paint("Sources", Ink::bold, style.color) + '\n' + table.render(2, style.color);
}

std::string settings(const Answer& answer, const TextStyle& style) {
  const Job& job = answer.plan->job;
  std::vector<std::pair<std::string, std::string>> rows = {{"model", job.model.name}};
  for (const Setting& setting : settings_of(job))
    rows.emplace_back(setting.key, setting_text(setting.value));
  rows.emplace_back("peft", peft_text(job.strategy.peft));

  Table table({Align::left, Align::left, Align::left});
  for (auto& [key, value] : rows) {
    const auto origin = std::find_if(answer.origins.begin(), answer.origins.end(),
                                     [&](const Origin& o) { return o.key == key; });
    const std::string from = origin == answer.origins.end() ? "default" : origin->from;
    table.add(
        {{key}, {visible(value)}, {visible(from), from == "default" ? Ink::dim : Ink::plain}});
  }
  return '\n' + paint("Settings and where they come from", Ink::bold, style.color) + '\n' +
         table.render(2, style.color);
}

}  // namespace

std::string render_explanation(const Answer& answer, const TextStyle& style) {
  const Plan& plan = *answer.plan;
  std::string out;
  for (const RankKind& kind : rank_kinds(plan))
    out += ledger(kind, plan, style) + phases(kind, style) + largest(kind, style);
  return out + sharding(plan, style) + sources(plan, style) + settings(answer, style);
}

}  // namespace memplan
