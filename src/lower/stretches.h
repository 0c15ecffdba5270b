// Repeated stretches of a model's layers: what a walk visits once and counts many times.
#pragma once

#include <cstdint>
#include <vector>

#include "lower/program.h"

namespace memplan {

/// `blocks` one after the other, `count` times over.
struct Stretch {
  std::vector<int32_t> blocks;  ///< indices into Program::blocks
  int64_t count = 1;
  int64_t first_layer = 0;
};

/// The layers of these runs in order. Periods of up to twelve layers (alternating windows, every
/// n-th layer with experts) are found; the first and the last round of each stand by themselves,
/// for their neighbours differ.
std::vector<Stretch> stretches(const std::vector<Run>& layers);

/// The same, every layer by itself.
std::vector<Stretch> each(const std::vector<Run>& layers);

}  // namespace memplan
