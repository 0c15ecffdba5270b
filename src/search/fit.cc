#include "memplan/fit.h"

#include "search/limits.h"
#include "search/suggest.h"

namespace memplan {

Plan fit(const Job& job) {
  Plan plan = predict(job);
  plan.limits = find_limits(job);
  if (plan.verdict.fits == false) plan.suggestions = suggest(job);
  return plan;
}

}  // namespace memplan
