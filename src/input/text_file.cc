#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "input/json.h"

namespace memplan {
namespace {

namespace fs = std::filesystem;

// Length of the UTF-8 sequence at the start of `text`, 0 where it is broken (RFC 3629: no
// surrogates, nothing above U+10FFFF, no overlong forms).
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ||
      (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F))
    return 0;
  return length;
}

}  // namespace

std::string read_text_file(const std::string& path, size_t limit) {
  const auto fail = [&](std::string problem, std::string hint = {}) {
    return Error(ErrorKind::bad_input, printable(path), std::move(problem), std::move(hint));
  };
  if (path.empty()) throw Error(ErrorKind::bad_input, "", "the name of the file is empty");
  if (path.find('\0') != path.npos) throw fail("a file name holds no zero byte");
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (status.type() == fs::file_type::not_found)
    throw fail("no such file", "check the spelling and the folder");
  if (status.type() == fs::file_type::directory) throw fail("is a folder", "name a file inside it");
  // A pipe lets a shell hand over a file it makes on the fly; a device may have no end.
  if (status.type() != fs::file_type::regular && status.type() != fs::file_type::fifo)
    throw fail("is not a file that can be read");
  const auto too_large = [&] {
    return fail("is larger than " + std::to_string(limit >> 20) + " MiB",
                "a configuration file is much smaller; is this the right file?");
  };
  if (status.type() == fs::file_type::regular && fs::file_size(path, ignored) > limit)
    throw too_large();
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) throw fail(std::string("cannot be opened: ") + std::strerror(errno));
  std::string text;
  std::array<char, 1 << 16> part;
  while (in.read(part.data(), part.size()), in.gcount() > 0) {
    text.append(part.data(), static_cast<size_t>(in.gcount()));
    if (text.size() > limit) throw too_large();
  }
  if (in.bad()) throw fail(std::string("cannot be read: ") + std::strerror(errno));
  if (text.empty()) throw fail("is empty", "was the download cut off?");
  return text;
}

size_t first_broken_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text.substr(i));
    if (length == 0) return i;
    i += length;
  }
  return text.npos;
}

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 80;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (out.size() >= kLongest) return out + "…";
    const auto c = static_cast<unsigned char>(text[i]);
    const size_t length = utf8_length(text.substr(i));
    // U+0080…U+009F are control characters too.
    const bool control =
        c < 0x20 || c == 0x7F ||
        (c == 0xC2 && length == 2 && static_cast<unsigned char>(text[i + 1]) < 0xA0);
    if (length == 0 || control) {
      out += {'\\', 'x', kDigits[c >> 4], kDigits[c & 15]};
      i += 1;
    } else {
      out += text.substr(i, length);
      i += length;
    }
  }
  return out;
}

}  // namespace memplan
