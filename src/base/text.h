// Small operations on text. ASCII alone is folded; no locale is asked.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace memplan {

char lower(char c);
std::string lower(std::string_view text);

/// How names are compared: lower case, with '-' for '_' and ' '.
char fold_case(char c);
std::string fold_case(std::string_view name);

/// The parts between separators, empty ones too; one part where there is no separator. They look at
/// `text`.
std::vector<std::string_view> split(std::string_view text, char separator);

/// 'text', in single quotes.
std::string quoted(std::string_view text);

/// Text fit for a message: control characters and broken UTF-8 escaped, cut at 80 bytes.
std::string printable(std::string_view text);

/// Where the UTF-8 encoding of `text` breaks first; npos: nowhere.
size_t first_broken_utf8(std::string_view text);

}  // namespace memplan
