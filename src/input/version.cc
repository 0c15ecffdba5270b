#include "input/version.h"

#include <array>
#include <charconv>

#include "base/text.h"
#include "memplan/error.h"

namespace memplan {

Version parse_version(std::string_view text, std::string_view where) {
  std::array<int, 3> parts{};
  size_t count = 0;
  std::string_view rest = text;
  while (count < parts.size()) {
    const auto [end, status] =
        std::from_chars(rest.data(), rest.data() + rest.size(), parts[count]);
    const auto used = static_cast<size_t>(end - rest.data());
    if (status != std::errc() || rest.front() == '-') break;
    rest.remove_prefix(used);
    ++count;
    const bool more = rest.size() > 1 && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9';
    if (!more) break;
    if (count < parts.size()) rest.remove_prefix(1);
  }
  // PEP 440: what follows a release is a pre-, post- or development release or a build's name.
  constexpr std::string_view kSuffixes = "+abcdprv.";
  const bool plain = rest.empty() || (kSuffixes.find(rest.front()) != kSuffixes.npos &&
                                      rest.size() > 1 && text.back() != '.');
  if (count < 2 || !plain)
    throw Error(ErrorKind::bad_input, std::string(where),
                "'" + printable(text) + "' is not a version", "write it as 2.14.1");
  return {parts[0], parts[1], parts[2]};
}

}  // namespace memplan
