#include "cli/prediction.h"

#include <algorithm>
#include <array>

#include "cost/eager.h"
#include "memplan/error.h"
#include "memplan/fit.h"

namespace memplan {

namespace {

template <typename Answer>
struct Figure {
  std::string_view name;
  FigureValue (*of)(const Answer&);
};

constexpr std::array<Figure<EagerStep>, 10> kStepFigures{{
    {"parameters", [](const EagerStep& s) { return FigureValue(s.parameters); }},
    {"trainable", [](const EagerStep& s) { return FigureValue(s.trainable); }},
    {"optimizer", [](const EagerStep& s) { return FigureValue(s.optimizer.count()); }},
    {"activations", [](const EagerStep& s) { return FigureValue(s.activations.count()); }},
    {"peak.forward", [](const EagerStep& s) { return FigureValue(s.forward.bytes.count()); }},
    {"peak_at.forward", [](const EagerStep& s) { return FigureValue(s.forward.at); }},
    {"peak.backward", [](const EagerStep& s) { return FigureValue(s.backward.bytes.count()); }},
    {"peak_at.backward", [](const EagerStep& s) { return FigureValue(s.backward.at); }},
    {"peak.step", [](const EagerStep& s) { return FigureValue(s.step.bytes.count()); }},
    {"peak_at.step", [](const EagerStep& s) { return FigureValue(s.step.at); }},
}};

const RankPlan& worst(const Plan& plan) {
  return plan.ranks.at(static_cast<size_t>(plan.verdict.worst_rank));
}

// Of states, what is held all the time; of the rest, the moment of the peak. PyTorch's `active`
// differs from `allocated` by blocks that another stream still reads.
constexpr std::array<Figure<Plan>, 10> kPlanFigures{{
    {"total_params", [](const Plan& p) { return FigureValue(p.parameters); }},
    {"trainable_params", [](const Plan& p) { return FigureValue(p.trainable); }},
    {"allocated", [](const Plan& p) { return FigureValue(worst(p).memory.allocated.count()); }},
    {"active", [](const Plan& p) { return FigureValue(worst(p).memory.allocated.count()); }},
    {"reserved", [](const Plan& p) { return FigureValue(worst(p).memory.reserved.count()); }},
    {"device", [](const Plan& p) { return FigureValue(worst(p).memory.device.count()); }},
    {"activations", [](const Plan& p) { return FigureValue(worst(p).memory.activations.count()); }},
    {"weights", [](const Plan& p) { return FigureValue(worst(p).states.weights.count()); }},
    {"gradients", [](const Plan& p) { return FigureValue(worst(p).states.gradients.count()); }},
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

template <typename Answer, size_t N>
void fill_all(const Answer& answer, const std::array<Figure<Answer>, N>& table,
              std::vector<CaseFigure>& figures) {
  for (CaseFigure& figure : figures)
    if (figure.refused.empty()) fill(answer, table, figure);
}

void refuse_all(const std::string& why, std::vector<CaseFigure>& figures) {
  for (CaseFigure& figure : figures)
    if (figure.refused.empty() || figure.figure == "-") figure.refused = why;
}

void answer(const MeasuredCase& one, std::vector<CaseFigure>& figures) {
  if (!one.job) throw Error(ErrorKind::not_modelled, "", one.refused);
  if (one.truth == Truth::plan) {
    fill_all(predict(*one.job), kPlanFigures, figures);
    return;
  }
  fill_all(eager_step(*one.job), kStepFigures, figures);
}

}  // namespace

std::vector<CaseFigure> predict_case(const MeasuredCase& one) {
  std::vector<CaseFigure> figures;
  for (const Measurement& measured : one.figures)
    figures.push_back({one.id, one.source, measured.figure, measured.value, {}, measured.refused});
  if (figures.empty())
    figures.push_back(
        {one.id, one.source, "-", {}, {}, "nothing that memplan predicts was measured"});
  try {
    answer(one, figures);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::device_fault) throw;
    refuse_all(error.problem(), figures);
  }
  return figures;
}

}  // namespace memplan
