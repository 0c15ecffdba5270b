// Objects of a configuration whose keys are all known.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "input/json.h"

namespace memplan {

/// Throws Error{bad_input} at the first key that is in none of the lists, with the nearest.
inline void require_known_keys(const JsonNode& object,
                               std::initializer_list<std::span<const std::string_view>> lists) {
  std::vector<std::string_view> known;
  for (const auto& list : lists) known.insert(known.end(), list.begin(), list.end());
  for (std::string_view key : object.require_object().keys())
    if (std::ranges::find(known, key) == known.end())
      throw object.missing(key).error("unknown key", name_hint(key, known));
}

}  // namespace memplan
