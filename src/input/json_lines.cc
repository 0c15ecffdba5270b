#include "input/json_lines.h"

#include "base/text.h"
#include "input/text_file.h"

namespace memplan {
namespace {

constexpr size_t kMaxBytes = size_t{512} << 20;  // thousands of cases with their configs

}  // namespace

void read_json_lines(const std::string& path, const std::function<void(const JsonNode&)>& read) {
  const std::string text = read_text_file(path, kMaxBytes);
  size_t number = 0;
  size_t objects = 0;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const JsonDocument document(line, path + ":" + std::to_string(number));
    read(document.root().require_object());
    ++objects;
  }
  if (objects == 0) throw Error(ErrorKind::bad_input, printable(path), "holds no line of JSON");
}

}  // namespace memplan
