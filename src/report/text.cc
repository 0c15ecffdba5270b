// One screen for people: verdict, job, memory, communication, limits, what to change.
#include <fmt/format.h>

#include <algorithm>

#include "report/memory_table.h"
#include "report/report.h"
#include "report/request.h"
#include "report/table.h"

namespace memplan {
namespace {

constexpr size_t kLargestRows = 3;

// "8 × h100-80g", "64 × h100-80g on 8 nodes".
std::string hardware(const Cluster& cluster) {
  std::string out = fmt::format("{} × {}", format_count(cluster.gpus), visible(cluster.gpu.name));
  if (cluster.gpus > cluster.gpus_per_node)
    out += fmt::format(" on {} nodes", ceil_div(cluster.gpus, cluster.gpus_per_node));
  return out;
}

std::string headline(const Plan& plan, const TextStyle& style) {
  const Verdict& v = plan.verdict;
  const Ink ink = ink_of(v);
  std::string said(to_string(v.risk));
  if (v.risk == Risk::tight) said = "fits, but tightly";
  if (!v.fits)
    said = plan.job.model.bare_parameters ? "the states alone fit, activations are not known"
                                          : "cannot be told, for part of it is left out";
  std::string out = paint(fmt::format("{} on {}: {}", shorten(visible(plan.job.model.name), 40),
                                      hardware(plan.job.cluster), said),
                          ink, style.color);
  const bool alike = rank_kinds(plan).size() == 1;
  std::string numbers =
      fmt::format("{} of {} on {} GPU", format_bytes(v.expected), format_bytes(v.capacity),
                  plan.job.cluster.gpus == 1 ? "the"
                  : alike                    ? "each"
                                             : "the fullest");
  if (v.low != v.high)
    numbers += fmt::format(" (between {} and {})", format_bytes(v.low), format_bytes(v.high));
  const bool over = v.risk == Risk::does_not_fit && v.headroom() < Bytes(0);
  if (over) numbers += ", " + format_bytes(Bytes(0) - v.headroom()) + " too much";
  out += '\n' + wrap(numbers, "", style.width);
  if (v.risk == Risk::does_not_fit && !v.reason.empty()) out += v.reason + '\n';
  return out;
}

std::string job_line(const Plan& plan, const TextStyle& style) {
  const Job& job = plan.job;
  const Strategy& s = job.strategy;
  std::vector<std::string> parts;
  parts.push_back(format_parameters(plan.parameters) + " parameters");
  if (!s.training)
    parts.push_back("forward only");
  else if (plan.trainable != plan.parameters)
    parts.push_back(format_parameters(plan.trainable) + " trained");
  const auto degree = [&](std::string_view name, int64_t value) {
    if (value > 1) parts.push_back(fmt::format("{} {}", name, value));
  };
  parts.push_back(fmt::format("dp {}", s.dp));
  degree("tp", s.tp);
  degree("pp", s.pp);
  degree("vpp", s.vpp);
  degree("cp", s.cp);
  degree("ep", s.ep);
  if (s.zero > 0) parts.push_back(fmt::format("ZeRO-{}", s.zero));
  if (s.data_parallel == DataParallelKind::data_parallel) parts.push_back("DataParallel");
  if (s.sequence_parallel) parts.push_back("sequence-parallel");
  if (s.pp > 1) parts.push_back(std::string(to_string(s.schedule)));
  if (!job.model.bare_parameters) {
    parts.push_back(fmt::format("micro-batch {}", s.micro_batch));
    parts.push_back(fmt::format("global batch {}", s.global_batch));
    parts.push_back(fmt::format("sequence {}", s.sequence));
  }
  parts.push_back(s.precision.name);
  if (s.training) parts.push_back(std::string(to_string(s.optimizer)));
  if (!job.model.bare_parameters)
    parts.push_back(fmt::format("{} attention", to_string(s.attention)));
  if (s.recompute != Recompute::none)
    parts.push_back(fmt::format("{} recomputation", to_string(s.recompute)));
  if (s.peft.kind != PeftKind::none) parts.push_back(peft_text(s.peft));
  if (s.trainable.kind != Trainable::Kind::all) parts.push_back("train " + train_text(s.trainable));
  if (offload_text(s.offload) != "none") parts.push_back("offload " + offload_text(s.offload));
  parts.push_back(std::string(to_string(s.framework)));

  // A part is not broken: its spaces hold together while the line is wrapped.
  constexpr char kHold = '\x1F';
  std::string line;
  for (std::string& part : parts) {
    std::replace(part.begin(), part.end(), ' ', kHold);
    line += line.empty() ? part : std::string(1, kHold) + "· " + part;
  }
  line = wrap(line, "", style.width);
  std::replace(line.begin(), line.end(), kHold, ' ');
  return line;
}

// All that one group sends by one collective in one phase.
struct TrafficSum {
  const Traffic* first;
  std::string what;
  int64_t count = 0;
  Bytes message, sent;
  bool one_size = true;
};

std::vector<TrafficSum> traffic_sums(const std::vector<Traffic>& rows) {
  std::vector<TrafficSum> sums;
  for (const Traffic& row : rows) {
    auto sum = std::find_if(sums.begin(), sums.end(), [&](const TrafficSum& s) {
      return s.first->group == row.group && s.first->collective == row.collective &&
             s.first->algorithm == row.algorithm && s.first->phase == row.phase &&
             s.first->ranks == row.ranks;
    });
    if (sum == sums.end()) sum = sums.insert(sums.end(), {&row, {}, 0, row.bytes, {}, true});
    sum->what += (sum->what.empty() ? "" : ", ") + row.what;
    sum->count = checked_add(sum->count, row.count);
    sum->one_size &= sum->message == row.bytes;
    sum->message = std::max(sum->message, row.bytes);
    sum->sent += row.bytes_sent_per_gpu;
  }
  std::stable_sort(sums.begin(), sums.end(),
                   [](const TrafficSum& a, const TrafficSum& b) { return a.sent > b.sent; });
  return sums;
}

std::string hyphened(std::string text) {
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

constexpr size_t kTrafficRows = 6;

// What is sent is shortened to `most_words` columns; the largest rows stand alone.
std::string traffic_table(const std::vector<TrafficSum>& sums, size_t most_words,
                          const TextStyle& style) {
  using enum Align;
  Table table({left, left, left, left, right, right, right});
  table.add({{"Communication", Ink::bold},
             {"collective"},
             {"phase"},
             {"of"},
             {"times"},
             {"message"},
             {"sent"}});
  Bytes total, rest;
  size_t shown = 0;
  for (const TrafficSum& sum : sums) {
    const Traffic& row = *sum.first;
    total += sum.sent;
    if (sums.size() > kTrafficRows + 1 && ++shown > kTrafficRows) {
      rest += sum.sent;
      continue;
    }
    std::string group = row.group.substr(0, row.group.find("_parallel"));
    std::string collective = hyphened(row.collective);
    if (row.algorithm == "tree") collective += " (tree)";
    table.add({{fmt::format("  {} × {}{}", hyphened(std::move(group)), row.ranks,
                            row.crosses_nodes ? " *" : "")},
               {std::move(collective)},
               {row.phase == "optimizer step" ? "step" : row.phase},
               {shorten(sum.what, most_words)},
               {format_count(sum.count)},
               {(sum.one_size ? "" : "≤ ") + fine_size_text(sum.message)},
               {fine_size_text(sum.sent)}});
  }
  if (rest > Bytes(0))
    table.add({{fmt::format("  … and {} smaller", sums.size() - kTrafficRows)},
               {},
               {},
               {},
               {},
               {},
               {fine_size_text(rest)}});
  if (sums.size() > 1)
    table.add({{"  each GPU sends"}, {}, {}, {}, {}, {}, {fine_size_text(total), Ink::bold}});
  return table.render(0, style.color);
}

std::string communication(const Plan& plan, const TextStyle& style) {
  if (plan.communication.empty()) return {};
  constexpr size_t kLeastWords = 12;
  const std::vector<TrafficSum> sums = traffic_sums(plan.communication);
  size_t words = 36;
  while (words > kLeastWords && widest_line(traffic_table(sums, words, {})) > style.width) --words;
  const bool network =
      std::ranges::any_of(sums, [](const TrafficSum& sum) { return sum.first->crosses_nodes; });
  return traffic_table(sums, words, style) +
         (network ? "  * over the network between nodes\n" : "");
}

std::string largest(const Plan& plan, const TextStyle& style) {
  const size_t worst = static_cast<size_t>(plan.verdict.worst_rank);
  if (worst >= plan.ranks.size() || plan.ranks[worst].largest.empty()) return {};
  Table table({Align::left, Align::right, Align::left});
  table.add({{"Largest tensors kept", Ink::bold}});
  const auto& lines = plan.ranks[worst].largest;
  for (size_t i = 0; i < std::min(lines.size(), kLargestRows); ++i)
    table.add({{"  " + shorten(lines[i].label, 48)},
               {size_text(lines[i].bytes)},
               {lines[i].formula, Ink::dim}});
  return table.render(0, style.color);
}

std::string limits(const Plan& plan, const TextStyle& style) {
  std::string out;
  const auto add = [&](std::string text) { out += (out.empty() ? "" : ", ") + std::move(text); };
  if (plan.limits.micro_batch) add(fmt::format("micro-batch {}", *plan.limits.micro_batch));
  if (plan.limits.sequence) add(fmt::format("sequence {}", format_count(*plan.limits.sequence)));
  if (plan.limits.gpus)
    add(fmt::format("{} GPU{} at least", format_count(*plan.limits.gpus),
                    *plan.limits.gpus == 1 ? "" : "s"));
  const auto& imbalance = plan.limits.expert_imbalance;  // said where there can be more
  if (imbalance && *imbalance + 0.01 <= most_imbalance(plan.job.model.moe, plan.job.strategy.ep))
    add(fmt::format("expert imbalance {:g}", *imbalance));
  if (out.empty()) return {};
  return paint("Limits", Ink::bold, style.color) + "  " + out + " (each with all else as it is)\n";
}

// What a change costs stands beside it, or below where that leaves no room.
std::string suggestions(const Plan& plan, const TextStyle& style) {
  if (plan.suggestions.empty()) return {};
  constexpr size_t kWidestChange = 44;
  const bool beside = std::ranges::all_of(plan.suggestions, [](const Suggestion& suggestion) {
    return display_width(suggestion.change) <= kWidestChange;
  });
  Table table({Align::left, Align::right, Align::left}, style.width);
  for (const Suggestion& suggestion : plan.suggestions) {
    table.add({{"  " + suggestion.change, Ink::green},
               {size_text(suggestion.device)},
               {suggestion.why, Ink::dim}});
  }
  const std::string heading = paint("It fits with", Ink::bold, style.color) + '\n';
  if (beside) return heading + table.render(0, style.color);
  std::string out = heading;
  for (const Suggestion& suggestion : plan.suggestions)
    out += paint(wrap(suggestion.change, "  ", style.width), Ink::green, style.color) +
           wrap(format_bytes(suggestion.device) + ": " + suggestion.why, "      ", style.width);
  return out;
}

// A heading and its sentences, one after the other.
std::string sentences(std::string_view heading, const std::vector<std::string>& items, Ink ink,
                      const TextStyle& style) {
  if (items.empty()) return {};
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : "; ") + visible(item);
  const std::string first = std::string(heading) + "  ";
  std::string out = wrap(text, first, style.width);
  return paint(heading, ink, style.color) + out.substr(heading.size());
}

}  // namespace

std::string render_text(const Plan& plan, const TextStyle& style) {
  std::string out = headline(plan, style) + job_line(plan, style) + '\n';
  out += memory_table(plan, style);
  for (const std::string& section :
       {communication(plan, style), largest(plan, style), suggestions(plan, style)})
    if (!section.empty()) out += '\n' + section;
  const std::string notes = limits(plan, style) +
                            sentences("Warning", plan.warnings, Ink::yellow, style) +
                            sentences("Assumed", plan.assumptions, Ink::bold, style) +
                            sentences("Left out", plan.not_modelled, Ink::bold, style);
  return notes.empty() ? out : out + '\n' + notes;
}

}  // namespace memplan
