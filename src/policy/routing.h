// What is taken for granted about how a router spreads tokens.
#pragma once

#include <string>

#include "memplan/strategy.h"

namespace memplan {

/// A sentence for Plan::assumptions, of a model with experts.
std::string routing_text(const Strategy& strategy);

}  // namespace memplan
