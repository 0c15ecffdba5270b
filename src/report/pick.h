// Single values out of a report, for scripts.
#pragma once

#include <string>
#include <string_view>

namespace memplan {

/// The values that `pointers` name in a JSON document, one a line: strings and numbers bare, null,
/// objects and lists as JSON. A pointer is RFC 6901's ("/ranks/0/memory/device"); several are
/// separated by commas. A step "*" stands for every element of a list, or every value of an object.
/// Throws Error{bad_input} where a pointer names nothing, with the nearest key.
std::string pick(std::string_view json, std::string_view pointers, std::string_view where);

}  // namespace memplan
