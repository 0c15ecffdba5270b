#include "report/pick.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/text.h"
#include "memplan/error.h"

namespace memplan {
namespace {

using Json = nlohmann::ordered_json;

// "~1" is a slash and "~0" a tilde (RFC 6901, section 4).
std::string unescape(std::string_view step) {
  std::string out;
  for (size_t i = 0; i < step.size(); ++i) {
    const bool escape = step[i] == '~' && i + 1 < step.size() && step[i + 1] <= '1';
    if (escape) ++i;
    out += !escape ? step[i] : step[i] == '1' ? '/' : '~';
  }
  return out;
}

class Picker {
 public:
  explicit Picker(std::string_view where) : where_(where) {}

  // Walks what is left of a pointer; `path` is what has been walked.
  void walk(const Json& node, std::string_view rest, const std::string& path) {
    if (rest.empty()) {
      out_ += node.is_string() ? node.get<std::string>() : node.dump();
      out_ += '\n';
      return;
    }
    const size_t end = std::min(rest.find('/', 1), rest.size());
    const std::string step = unescape(rest.substr(1, end - 1));
    const std::string_view after = rest.substr(end);
    if (step == "*" && node.is_structured()) {
      for (const Json& child : node) walk(child, after, path + "/*");
      return;
    }
    walk(child(node, step, path), after, path + '/' + step);
  }

  std::string take() { return std::move(out_); }

 private:
  const Json& child(const Json& node, const std::string& step, const std::string& path) const {
    if (node.is_object()) {
      if (const auto found = node.find(step); found != node.end()) return *found;
      std::vector<std::string> keys;
      for (const auto& item : node.items()) keys.push_back(item.key());
      nothing(path, step, name_hint(step, {keys.begin(), keys.end()}));
    }
    if (!node.is_array()) nothing(path, step, "nothing lies below it");
    size_t index = 0;
    const auto [end, status] = std::from_chars(step.data(), step.data() + step.size(), index);
    const bool number = status == std::errc() && end == step.data() + step.size();
    if (!number || index >= node.size())
      nothing(path, step,
              node.empty() ? "the list is empty"
                           : "give 0 to " + std::to_string(node.size() - 1) + ", or * for all");
    return node[index];
  }

  [[noreturn]] void nothing(const std::string& path, const std::string& step,
                            const std::string& hint) const {
    throw Error(ErrorKind::bad_input, std::string(where_),
                (path.empty() ? std::string("the report") : path) + " has no '" + step + "'", hint);
  }

  std::string_view where_;
  std::string out_;
};

}  // namespace

std::string pick(std::string_view json, std::string_view pointers, std::string_view where) {
  const Json root = Json::parse(json);
  Picker picker(where);
  for (const std::string_view pointer : split(pointers, ',')) {
    if (!pointer.starts_with('/'))
      throw Error(ErrorKind::bad_input, std::string(where), quoted(pointer) + " is no JSON pointer",
                  "write /verdict/device_bytes/expected");
    picker.walk(root, pointer, {});
  }
  return picker.take();
}

}  // namespace memplan
