// Versions of libraries as they print themselves.
#pragma once

#include <string_view>

#include "memplan/strategy.h"

namespace memplan {

/// "2.14.1", "2.14.1+cu130", "5.12", "0.19.2.dev0", "2.9.0a0+git1234": the release it belongs to.
/// Throws Error{bad_input} naming `where` on anything else.
Version parse_version(std::string_view text, std::string_view where);

}  // namespace memplan
