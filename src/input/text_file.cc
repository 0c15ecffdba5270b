#include "input/text_file.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/text.h"
#include "memplan/error.h"

namespace memplan {

namespace fs = std::filesystem;

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

Error yaml_is_not_read(const std::string& path) {
  return Error(ErrorKind::bad_input, printable(path), "is YAML, which is not read",
               "turn it into JSON: python3 -c 'import json,sys,yaml; "
               "json.dump(yaml.safe_load(sys.stdin),sys.stdout)'");
}

}  // namespace memplan
