// Versions of libraries.
#pragma once

#include <compare>

namespace memplan {

/// The version of a library that a fact holds for.
struct Version {
  int major = 0, minor = 0, patch = 0;
  friend auto operator<=>(const Version&, const Version&) = default;
};

}  // namespace memplan
