#include "cli/prediction.h"

#include <algorithm>
#include <array>

#include "cost/eager.h"
#include "cost/operator_peak.h"
#include "lower/inventory.h"
#include "memplan/error.h"
#include "memplan/fit.h"

namespace memplan {

namespace {

template <typename Answer>
struct Figure {
  std::string_view name;
  FigureValue (*of)(const Answer&);
};

// The most that live at once: all of them, or one of those that are spent in backward.
Bytes most_gradients(const EagerStep& s) {
  return std::max({s.forward.gradients, s.backward.gradients, s.step.gradients, s.spent});
}

FigureValue first(const EagerStep& s, Bytes peak) {
  return FigureValue((peak - s.made_by_step).count());
}

constexpr std::array<Figure<EagerStep>, 18> kStepFigures{{
    {"parameters", [](const EagerStep& s) { return FigureValue(s.parameters); }},
    {"trainable", [](const EagerStep& s) { return FigureValue(s.trainable); }},
    {"optimizer", [](const EagerStep& s) { return FigureValue(s.optimizer.count()); }},
    {"initial", [](const EagerStep& s) { return FigureValue((s.weights + s.buffers).count()); }},
    {"held.parameters", [](const EagerStep& s) { return FigureValue(s.registered.count()); }},
    {"gradients", [](const EagerStep& s) { return FigureValue(most_gradients(s).count()); }},
    {"activations", [](const EagerStep& s) { return FigureValue(s.activations.count()); }},
    {"peak.forward", [](const EagerStep& s) { return FigureValue(s.forward.bytes.count()); }},
    {"peak_at.forward", [](const EagerStep& s) { return FigureValue(s.forward.at); }},
    {"peak.backward", [](const EagerStep& s) { return FigureValue(s.backward.bytes.count()); }},
    {"peak_at.backward", [](const EagerStep& s) { return FigureValue(s.backward.at); }},
    {"peak.step", [](const EagerStep& s) { return FigureValue(s.step.bytes.count()); }},
    {"peak_at.step", [](const EagerStep& s) { return FigureValue(s.step.at); }},
    {"phase.initial", [](const EagerStep& s) { return first(s, s.resident); }},
    {"phase.first.forward", [](const EagerStep& s) { return first(s, s.forward.bytes); }},
    {"phase.first.backward", [](const EagerStep& s) { return first(s, s.backward.bytes); }},
    {"phase.first.step", [](const EagerStep& s) { return FigureValue(s.step.bytes.count()); }},
    {"phase.between",
     [](const EagerStep& s) { return FigureValue((s.resident + s.left).count()); }},
}};

constexpr std::array<Figure<ParameterCounts>, 2> kSizeFigures{{
    {"total_params", [](const ParameterCounts& c) { return FigureValue(c.total); }},
    {"trainable_params", [](const ParameterCounts& c) { return FigureValue(c.trainable); }},
}};

const RankPlan& worst(const Plan& plan) {
  return plan.ranks.at(static_cast<size_t>(plan.verdict.worst_rank));
}

// Of states, what is held all the time; of the rest, the moment of the peak. PyTorch's `active`
// differs from `allocated` by blocks that another stream still reads.
// The last rank's, which Megatron-LM logs.
Bytes between_steps(const Plan& plan) {
  const std::vector<PhasePeak>& phases = plan.ranks.back().phases;
  const auto at = std::ranges::find(phases, "between steps", &PhasePeak::phase);
  if (at == phases.end())
    throw Error(ErrorKind::not_modelled, "", "memory between steps is not told apart");
  return at->allocated;
}

constexpr std::array<Figure<Plan>, 13> kPlanFigures{{
    {"allocated", [](const Plan& p) { return FigureValue(worst(p).memory.allocated.count()); }},
    {"cuda.allocated",
     [](const Plan& p) { return FigureValue(worst(p).memory.allocated.count()); }},
    {"cuda.reserved", [](const Plan& p) { return FigureValue(worst(p).memory.reserved.count()); }},
    {"cuda.device", [](const Plan& p) { return FigureValue(worst(p).memory.device.count()); }},
    {"last_rank.allocated",
     [](const Plan& p) { return FigureValue(p.ranks.back().memory.allocated.count()); }},
    {"last_rank.after_step", [](const Plan& p) { return FigureValue(between_steps(p).count()); }},
    {"active", [](const Plan& p) { return FigureValue(worst(p).memory.allocated.count()); }},
    {"reserved", [](const Plan& p) { return FigureValue(worst(p).memory.reserved.count()); }},
    {"device", [](const Plan& p) { return FigureValue(worst(p).memory.device.count()); }},
    {"activations", [](const Plan& p) { return FigureValue(worst(p).memory.activations.count()); }},
    {"weights", [](const Plan& p) { return FigureValue(worst(p).states.weights.count()); }},
    {"gradients", [](const Plan& p) { return FigureValue(worst(p).memory.gradients.count()); }},
    {"optimizer", [](const Plan& p) { return FigureValue(worst(p).states.optimizer.count()); }},
}};

template <typename Answer, size_t N>
void fill(const Answer& answer, const std::array<Figure<Answer>, N>& table, CaseFigure& out) {
  const auto figure = std::ranges::find(table, out.figure, &Figure<Answer>::name);
  if (figure == table.end())
    out.refused = "figure " + out.figure + " is not predicted yet";
  else
    out.predicted = figure->of(answer);
}

// A rank's own figures.
constexpr std::array<Figure<RankPlan>, 2> kRankFigures{{
    {"rank.allocated", [](const RankPlan& r) { return FigureValue(r.memory.allocated.count()); }},
    {"rank.reserved", [](const RankPlan& r) { return FigureValue(r.memory.reserved.count()); }},
}};

const RankPlan& plan_of(const Plan& plan, int64_t rank) {
  for (const RankPlan& kind : plan.ranks)
    if (rank >= kind.rank && rank < kind.rank + kind.count) return kind;
  throw Error(ErrorKind::not_modelled, "", "the job has no rank " + std::to_string(rank));
}

// A figure of a case that one of memplan's answers is held against.
struct AskedFigure {
  CaseFigure* figure;
  std::optional<int64_t> rank;
};
using Asked = std::vector<AskedFigure>;

template <typename Answer, size_t N>
void fill_all(const Answer& answer, const std::array<Figure<Answer>, N>& table,
              const Asked& figures) {
  for (const AskedFigure& asked : figures) fill(answer, table, *asked.figure);
}

void fill_plan(const Plan& plan, const Asked& figures) {
  for (const AskedFigure& asked : figures)
    if (asked.rank)
      fill(plan_of(plan, *asked.rank), kRankFigures, *asked.figure);
    else
      fill(plan, kPlanFigures, *asked.figure);
}

// The walk knows no master copy but DeepSpeed's, and activations do not depend on it.
Job walked(Job job) {
  Strategy& s = job.strategy;
  if (!s.precision.master || s.framework == Framework::deepspeed) return job;
  s.framework = Framework::huggingface;
  s.precision.master.reset();
  s.precision.optimizer = s.precision.weight;
  return job;
}

void fill_step(const Job& job, const Asked& figures) {
  Asked of_step;
  for (const AskedFigure& asked : figures)
    if (asked.figure->figure == "phase.evaluation")
      asked.figure->predicted = FigureValue(eager_evaluation(job).bytes.count());
    else
      of_step.push_back(asked);
  fill_all(eager_step(job), kStepFigures, of_step);
}

// An interval, which torch.compile gives, stands for its upper end where it is as narrow as this.
constexpr int64_t kNarrowPercent = 5;

Plan one_answer(Plan plan) {
  const RankPlan& rank = worst(plan);
  const Bytes upper = rank.memory.allocated;
  if (checked_mul(rank.below.count(), 100) > checked_mul(upper.count(), kNarrowPercent))
    throw Error(ErrorKind::not_modelled, "",
                "torch.compile is answered by an interval, from " +
                    format_bytes(upper - rank.below) + " to " + format_bytes(upper) +
                    ": no figure is held against it");
  return plan;
}

void answer(const MeasuredCase& one, Answered by, const Asked& figures) {
  try {
    if (one.bench) {
      const FigureValue peak = operator_peak(*one.bench).count();
      for (const AskedFigure& asked : figures) asked.figure->predicted = peak;
      return;
    }
    const std::optional<Job>& job = by == Answered::by_size && one.model ? one.model : one.job;
    if (!job) throw Error(ErrorKind::not_modelled, "", one.refused);
    if (by == Answered::by_step && job->strategy.compile)
      throw Error(ErrorKind::not_modelled, "",
                  "torch.compile is answered by an interval: no figure is held against it");
    if (by == Answered::by_size)
      fill_all(count_job_parameters(*job), kSizeFigures, figures);
    else if (by == Answered::by_step)
      fill_step(walked(*job), figures);
    else
      fill_plan(one_answer(predict(*job)), figures);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::device_fault) throw;
    for (const AskedFigure& asked : figures) asked.figure->refused = error.problem();
  }
}

}  // namespace

std::vector<CaseFigure> predict_case(const MeasuredCase& one) {
  if (one.figures.empty()) {
    const std::string nothing = "nothing that memplan predicts was measured";
    return {{one.id, one.source, "-", {}, {}, one.refused.empty() ? nothing : one.refused}};
  }
  std::vector<CaseFigure> figures;
  for (const Measurement& measured : one.figures)
    figures.push_back({one.id, one.source, measured.figure, measured.value, {}, measured.refused});
  for (const Answered by :
       {Answered::by_size, Answered::by_step, Answered::by_plan, Answered::by_operator}) {
    Asked asked;
    for (size_t i = 0; i < figures.size(); ++i)
      if (one.figures[i].answered == by && figures[i].refused.empty())
        asked.push_back({&figures[i], one.figures[i].rank});
    if (!asked.empty()) answer(one, by, asked);
  }
  return figures;
}

}  // namespace memplan
