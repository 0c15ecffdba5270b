// A family's row in the words of another implementation of its architecture.
#pragma once

#include "lower/family_row.h"

namespace memplan {

/// Renames modules of transformers' row as the model's implementation names and fuses them.
void rename_for(const ModelSpec& model, FamilyRow& row);

}  // namespace memplan
