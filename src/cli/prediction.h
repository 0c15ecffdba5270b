// What memplan says of a measured case.
#pragma once

#include <vector>

#include "job/measured.h"
#include "report/validation.h"

namespace memplan {

/// Each figure of the case, predicted or refused by name. Throws nothing but Error{device_fault}.
std::vector<CaseFigure> predict_case(const MeasuredCase& one);

}  // namespace memplan
