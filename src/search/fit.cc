#include "memplan/fit.h"

#include "cost/lifecycle.h"
#include "search/limits.h"
#include "search/suggest.h"

namespace memplan {

Plan fit(const Job& job) {
  Plan plan = predict(job);
  add_lifecycle(plan);
  plan.limits = find_limits(job);
  if (plan.verdict.fits == false) plan.suggestions = suggest(job);
  return plan;
}

}  // namespace memplan
