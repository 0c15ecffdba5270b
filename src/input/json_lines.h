// Files of one JSON object a line.
#pragma once

#include <functional>
#include <string>

#include "input/json.h"

namespace memplan {

/// Calls `read` with the object of each line that is not blank; messages name "FILE:LINE". Throws
/// Error{bad_input} where the file is unreadable or a line is no JSON object, and what `read`
/// throws.
void read_json_lines(const std::string& path, const std::function<void(const JsonNode&)>& read);

}  // namespace memplan
