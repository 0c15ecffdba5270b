// Text files read whole.
#pragma once

#include <cstddef>
#include <string>

#include "memplan/error.h"

namespace memplan {

constexpr size_t kMaxConfigBytes = size_t{4} << 20;  ///< of a configuration file

/// Reads a regular file or a pipe. Throws Error{bad_input} naming `path` where it is missing, a
/// folder, unreadable, empty or larger than `limit` bytes.
std::string read_text_file(const std::string& path, size_t limit = kMaxConfigBytes);

/// What to say of a file that is YAML.
Error yaml_is_not_read(const std::string& path);

}  // namespace memplan
