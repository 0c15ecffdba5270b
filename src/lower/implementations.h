// A family's row in the words of another implementation of its architecture.
#pragma once

#include "lower/family_row.h"

namespace memplan {

/// Renames modules of transformers' row as `implementation` names and fuses them.
void rename_for(Implementation implementation, FamilyRow& row);

}  // namespace memplan
