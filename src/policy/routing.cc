#include "policy/routing.h"

#include <fmt/format.h>

namespace memplan {

std::string routing_text(const Strategy& strategy) {
  if (strategy.megatron.pad_to_capacity)
    return "every expert is given its whole capacity, however tokens are routed";
  if (strategy.expert_imbalance == 1)
    return strategy.ep == 1 ? "tokens are routed evenly over the experts"
                            : "tokens are routed evenly over the experts (--expert-imbalance 1)";
  return fmt::format("the busiest of {} expert-parallel ranks gets {:g} times the mean of all",
                     strategy.ep, strategy.expert_imbalance);
}

}  // namespace memplan
