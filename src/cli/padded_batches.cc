#include "cli/padded_batches.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "cli/settings.h"
#include "memplan/error.h"

namespace memplan {
namespace {

// In how many of a hundred steps is there a sample of that share?
std::string chance_text(double share, int64_t samples) {
  const double chance = -std::expm1(static_cast<double>(samples) * std::log1p(-share));
  return chance < 0.0001 ? "under 0.01 %" : fmt::format("{:.4g} %", 100 * chance);
}

}  // namespace

void set_longest_sequence(std::vector<Given>& given, SampleLengths& lengths,
                          const std::string& file) {
  const auto seq = std::ranges::find(given, "--seq", &Given::option);
  if (seq == given.end()) {
    given.push_back({"--seq", std::to_string(lengths.longest()), "--lengths", printable(file)});
    return;
  }
  if (seq->text.find(',') != std::string::npos)
    throw Error(ErrorKind::bad_input, seq->where, "a list stands beside --lengths",
                "one --seq cuts longer samples to it");
  lengths = lengths.cut(parse_count(seq->text, seq->where));
  seq->text = std::to_string(lengths.longest());
}

void pad_batches(Job& job, const SampleLengths& lengths) {
  Strategy& s = job.strategy;
  if (s.packed)
    throw Error(ErrorKind::bad_input, "--lengths",
                "packed batches are full, whatever the samples' lengths", "leave --packed away");
  const bool masked = runs_in_trainer(s.framework) || s.framework == Framework::deepspeed;
  if (masked && s.micro_batch > 1 && lengths.counts.size() > 1) s.padding_mask = true;
}

void describe_batches(Plan& plan, const SampleLengths& lengths) {
  const Strategy& s = plan.job.strategy;
  plan.assumptions.push_back(fmt::format(
      "each micro-batch padded to its longest sample: of {} samples with {} to {} tokens the worst "
      "is answered, of {} tokens; half of the micro-batches need at most {}",
      format_count(lengths.samples), format_count(lengths.shortest()),
      format_count(lengths.longest()), format_count(s.sequence),
      format_count(lengths.median_padded(s.micro_batch))));
  if (!plan.limits.sequence || *plan.limits.sequence >= lengths.longest()) return;
  const int64_t longer = lengths.longer_than(*plan.limits.sequence);
  const double share = static_cast<double>(longer) / static_cast<double>(lengths.samples);
  plan.warnings.push_back(fmt::format(
      "{} of {} samples are longer than the {} tokens that fit: a step of {} samples has one with "
      "a "
      "chance of {}",
      format_count(longer), format_count(lengths.samples), format_count(*plan.limits.sequence),
      format_count(s.global_batch), chance_text(share, s.global_batch)));
}

}  // namespace memplan
