// The order in which transformers' modules register the parameters of a layer.
#pragma once

#include <cstddef>
#include <vector>

#include "lower/family_row.h"

namespace memplan {

/// Indices of Graph::params of one layer, as model.parameters() lists them and an optimizer that
/// goes parameter by parameter meets them: modules in the order of their __init__, which need not
/// be the order of forward.
std::vector<size_t> registration_order(const Graph& layer, const FamilyRow& row);

}  // namespace memplan
