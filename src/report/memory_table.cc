#include "report/memory_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace memplan {
namespace {

constexpr size_t kMostColumns = 4;

bool alike(const RankPlan& a, const RankPlan& b) {
  const auto values = [](const RankPlan& rank) {
    const RankMemory& m = rank.memory;
    const HostMemory& h = rank.host;
    return std::array{m.weights, m.gradients, m.optimizer, m.activations, m.transient,
                      m.buffers, m.reserved,  m.context,   m.libraries,   m.nccl,
                      h.pinned,  h.pageable,  h.nvme};
  };
  // A role of its own ("GPU 0 of DataParallel") is kept apart; "stage 3" is not one.
  const bool roles = a.role == b.role || a.pipeline_stage != b.pipeline_stage;
  return roles && a.peak_phase == b.peak_phase && values(a) == values(b);
}

// "0", "1-6", "0, 2, 5-7".
std::string ranges(const std::vector<int64_t>& numbers) {
  std::string out;
  for (size_t i = 0; i < numbers.size();) {
    size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    if (!out.empty()) out += ", ";
    out += end - i == 1 ? fmt::format("{}", numbers[i])
                        : fmt::format("{}-{}", numbers[i], numbers[end - 1]);
    i = end;
  }
  return out;
}

// The first kinds, the worst and the last.
std::vector<RankKind> shown(const std::vector<RankKind>& kinds) {
  if (kinds.size() <= kMostColumns) return kinds;
  std::vector<RankKind> out;
  for (size_t i = 0; i < kinds.size(); ++i) {
    const bool must = kinds[i].worst || i + 1 == kinds.size();
    if (must || i < kMostColumns - 2) out.push_back(kinds[i]);
  }
  return out;
}

constexpr std::array<MemoryLine, 12> kLines{{
    {"weights", "weights", &RankMemory::weights, false},
    {"gradients", "gradients", &RankMemory::gradients, false},
    {"optimizer states", "optimizer", &RankMemory::optimizer, false},
    {"activations", "activations", &RankMemory::activations, false},
    {"transients", "transient", &RankMemory::transient, false},
    {"buffers", "buffers", &RankMemory::buffers, false},
    {"allocated", "allocated", &RankMemory::allocated, true},
    {"reserved", "reserved", &RankMemory::reserved, true},
    {"CUDA context", "context", &RankMemory::context, false},
    {"libraries", "libraries", &RankMemory::libraries, false},
    {"NCCL", "nccl", &RankMemory::nccl, false},
    {"device", "device", &RankMemory::device, true},
}};

Ink ink_against(Bytes device, const Verdict& verdict) {
  if (device > verdict.capacity) return Ink::red;
  return device == verdict.expected ? ink_of(verdict) : Ink::bold;
}

}  // namespace

std::span<const MemoryLine> memory_lines() { return kLines; }

Ink ink_of(const Verdict& verdict) {
  if (verdict.risk == Risk::does_not_fit) return Ink::red;
  return verdict.risk == Risk::fits && verdict.fits ? Ink::green : Ink::yellow;
}

std::vector<RankKind> rank_kinds(const Plan& plan) {
  std::vector<RankKind> kinds;
  for (size_t i = 0; i < plan.ranks.size(); ++i) {
    const RankPlan& rank = plan.ranks[i];
    auto kind = std::find_if(kinds.begin(), kinds.end(),
                             [&](const RankKind& k) { return alike(*k.first, rank); });
    if (kind == kinds.end()) kind = kinds.insert(kinds.end(), {&rank, 0, {}, false});
    kind->count += rank.count;
    kind->stages.push_back(rank.pipeline_stage);
    kind->worst |= static_cast<int64_t>(i) == plan.verdict.worst_rank;
  }
  return kinds;
}

std::string kind_title(const RankKind& kind, const Plan& plan) {
  // "stage 3", or "stage 3, 2 ranks as rank 12"
  if (plan.job.strategy.pp > 1 && kind.stages.size() == 1 && !kind.first->role.empty())
    return kind.first->role;
  if (plan.job.strategy.pp > 1)
    return fmt::format("stage{} {}", kind.stages.size() > 1 ? "s" : "", ranges(kind.stages));
  if (!kind.first->role.empty()) return kind.first->role;
  return kind.count == 1 ? "the GPU" : fmt::format("each of {} GPUs", kind.count);
}

namespace {

constexpr size_t kPeakWidth = 36;

// "_log_softmax_backward_data" of "aten._log_softmax_backward_data.default".
std::string_view operator_name(std::string_view at) {
  constexpr std::string_view kAten = "aten.";
  if (!at.starts_with(kAten)) return at;
  at.remove_prefix(kAten.size());
  return at.substr(0, at.find('.'));
}

}  // namespace

std::string memory_table(const Plan& plan, const TextStyle& style) {
  const std::vector<RankKind> all = rank_kinds(plan);
  const std::vector<RankKind> kinds = shown(all);

  std::vector<Align> columns(kinds.size() + 1, Align::right);
  columns.front() = Align::left;
  Table table(columns);

  std::vector<Cell> titles = {{"Memory at the peak", Ink::bold}};
  for (const RankKind& kind : kinds)
    titles.push_back({shorten(kind_title(kind, plan), 24), kind.worst ? Ink::bold : Ink::plain});
  table.add(std::move(titles));
  if (kinds.size() > 1) {
    std::vector<Cell> counts = {{""}};
    for (const RankKind& kind : kinds)
      counts.push_back({fmt::format("{} GPU{}{}", kind.count, kind.count > 1 ? "s" : "",
                                    kind.worst ? ", worst" : "")});
    table.add(std::move(counts));
  }

  const bool same = std::all_of(kinds.begin(), kinds.end(), [](const RankKind& kind) {
    return kind.first->memory.reserved == kind.first->memory.allocated;
  });
  for (const MemoryLine& line : kLines) {
    const bool reserved = line.bytes == &RankMemory::reserved;
    if (reserved && same) continue;
    const bool any = std::any_of(kinds.begin(), kinds.end(), [&](const RankKind& kind) {
      return kind.first->memory.*line.bytes != Bytes(0);
    });
    if (!any && !line.total) continue;
    const bool device = line.bytes == &RankMemory::device;
    std::string label(line.label);
    if (line.bytes == &RankMemory::allocated && same) label = "allocated = reserved";
    if (!line.total) label = "  " + label;
    std::vector<Cell> cells = {{std::move(label), line.total ? Ink::bold : Ink::plain}};
    for (const RankKind& kind : kinds) {
      const Bytes bytes = kind.first->memory.*line.bytes;
      const Ink ink = device       ? ink_against(bytes, plan.verdict)
                      : line.total ? Ink::bold
                                   : Ink::plain;
      cells.push_back({size_text(bytes), ink});
    }
    table.add(std::move(cells));
  }

  std::vector<Cell> room = {{"free of " + format_bytes(plan.verdict.capacity)}};
  std::vector<Cell> peak = {{"peak in"}}, host = {{"host memory"}}, nvme = {{"NVMe"}};
  Bytes all_host, all_nvme;
  for (const RankKind& kind : kinds) {
    const Bytes bytes = plan.verdict.capacity - kind.first->memory.device;
    room.push_back({size_text(bytes), bytes < Bytes(0) ? Ink::red : Ink::plain});
    const bool named = kind.first->peak_operator != kind.first->peak_phase;
    const std::string_view at = operator_name(kind.first->peak_operator);
    peak.push_back(
        {shorten(kind.first->peak_phase + (named ? ", " + std::string(at) : ""), kPeakWidth)});
    const Bytes in_host = kind.first->host.pinned + kind.first->host.pageable;
    host.push_back({size_text(in_host)});
    nvme.push_back({size_text(kind.first->host.nvme)});
    all_host += in_host;
    all_nvme += kind.first->host.nvme;
  }
  table.add(std::move(room));
  table.add(std::move(peak));
  if (all_host > Bytes(0)) table.add(std::move(host));
  if (all_nvme > Bytes(0)) table.add(std::move(nvme));

  std::string out = table.render(0, style.color);
  if (kinds.size() < all.size())
    out +=
        fmt::format("… and {} more kinds of ranks; --json lists all\n", all.size() - kinds.size());
  return out;
}

}  // namespace memplan
