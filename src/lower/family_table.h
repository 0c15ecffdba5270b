// All rows of lower/family_row.h.
#pragma once

#include <span>

#include "lower/family_row.h"

namespace memplan {

std::span<const FamilyRow> family_table();

}  // namespace memplan
