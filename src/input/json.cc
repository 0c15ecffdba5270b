#include "input/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "memplan/units.h"

namespace memplan {

namespace {

using Json = nlohmann::json;

// RFC 6901.
std::string pointer_token(std::string_view key) {
  std::string token;
  for (char c : key) {
    if (c == '~')
      token += "~0";
    else if (c == '/')
      token += "~1";
    else
      token += c;
  }
  return printable(token);
}

std::string line_and_column(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t column = before.size() - (before.rfind('\n') + 1);  // npos + 1 is 0
  return "line " + std::to_string(line) + ", column " + std::to_string(column + 1);
}

std::string shown(const Json& value) {
  if (value.is_string()) return '"' + printable(value.get_ref<const std::string&>()) + '"';
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  return printable(value.dump());
}

// Builds the document from parser events, so that depth and double keys are seen before anything is
// stored.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  Json take() { return std::move(root_); }

  bool null() override { return put(Json()); }
  bool boolean(bool value) override { return put(Json(value)); }
  bool number_integer(number_integer_t value) override { return put(Json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return put(Json(value)); }
  bool number_float(number_float_t value, const string_t&) override { return put(Json(value)); }
  bool string(string_t& value) override { return put(Json(std::move(value))); }
  bool binary(binary_t&) override { return false; }  // not in text

  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (open_.back()->contains(name)) {
      throw Error(ErrorKind::bad_input, where() + '/' + pointer_token(name),
                  "the key is given twice", "keep one of them");
    }
    keys_.back() = std::move(name);
    return true;
  }

  bool parse_error(size_t position, const std::string& token, const Json::exception& e) override {
    constexpr int kNumberOverflow = 406;
    const std::string at = file_ + ": " + line_and_column(text_, position == 0 ? 0 : position - 1);
    if (e.id == kNumberOverflow)
      throw Error(ErrorKind::bad_input, at, "the number " + printable(token) + " is too large");
    if (position > text_.size() && !open_.empty())
      throw Error(ErrorKind::bad_input, at, "the file ends in the middle of " + unfinished(),
                  "was the download cut off?");
    const std::string_view rest = text_.substr(std::min(text_.size(), position - 1));
    for (std::string_view word : {"NaN", "Infinity"}) {
      if (rest.starts_with(word))
        throw Error(ErrorKind::bad_input, at,
                    "is not JSON: " + std::string(word) + " is no number");
    }
    throw Error(ErrorKind::bad_input, at,
                root_.is_null() && open_.empty() ? "is not JSON" : "is not JSON from here on",
                token.empty() ? "" : "the text here is '" + printable(token) + "'");
  }

 private:
  std::string unfinished() const {
    const std::string kind = open_.back()->is_array() ? "the list" : "the object";
    return open_.size() < 2 ? kind : kind + ' ' + pointer();
  }

  std::string pointer() const {
    std::string text;
    for (size_t i = 0; i + 1 < open_.size(); ++i)
      text += '/' + (open_[i]->is_array() ? std::to_string(open_[i]->size() - 1)
                                          : pointer_token(keys_[i]));
    return text;
  }
  std::string where() const { return file_ + ": " + pointer(); }

  Json* store(Json&& value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Json& parent = *open_.back();
    if (!parent.is_array()) return &(parent[keys_.back()] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }
  bool put(Json&& value) {
    store(std::move(value));
    return true;
  }
  bool open(Json&& value) {
    if (open_.size() >= kMaxJsonDepth)
      throw Error(ErrorKind::bad_input, file_,
                  "is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
    open_.push_back(store(std::move(value)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::string_view text_;
  std::string file_;
  Json root_;
  std::vector<Json*> open_;        // stays valid: only the innermost container grows
  std::vector<std::string> keys_;  // the member being read, one per open container
};

}  // namespace

JsonDocument::JsonDocument(std::string_view text, std::string_view file)
    : file_(std::make_unique<const std::string>(printable(file))) {
  if (text.starts_with("\xEF\xBB\xBF"))
    throw Error(ErrorKind::bad_input, *file_, "starts with a byte order mark, which JSON forbids",
                "save it as UTF-8 without BOM");
  if (const size_t bad = first_broken_utf8(text); bad != text.npos) {
    throw Error(ErrorKind::bad_input, *file_,
                "is not UTF-8 text (byte " + std::to_string(bad) + ")",
                "is this a JSON file? Weights and archives are not read here");
  }
  if (text.find_first_not_of(" \t\r\n") == text.npos)
    throw Error(ErrorKind::bad_input, *file_, "is empty", "was the download cut off?");
  Builder builder(text, *file_);
  Json::sax_parse(text.begin(), text.end(), &builder);
  root_ = std::make_unique<Json>(builder.take());
}
JsonDocument::~JsonDocument() = default;
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;

JsonNode JsonDocument::root() const { return JsonNode(*root_, *file_, ""); }

JsonNode::JsonNode(const Json& value, std::string_view file, std::string pointer)
    : value_(&value), file_(file), pointer_(std::move(pointer)) {}

std::string JsonNode::where() const {
  return std::string(file_) + (pointer_.empty() ? "" : ": " + pointer_);
}

Error JsonNode::error(std::string problem, std::string hint, ErrorKind kind) const {
  return Error(kind, where(), std::move(problem), std::move(hint));
}

Error JsonNode::wrong_type(std::string_view wanted) const {
  return error("must be " + std::string(wanted) + ", not " + shown(*value_));
}

bool JsonNode::same_value(const JsonNode& other) const { return *value_ == *other.value_; }
bool JsonNode::is_null() const { return value_->is_null(); }
bool JsonNode::is_object() const { return value_->is_object(); }
bool JsonNode::is_array() const { return value_->is_array(); }
bool JsonNode::is_text() const { return value_->is_string(); }
bool JsonNode::is_boolean() const { return value_->is_boolean(); }
bool JsonNode::is_false() const { return value_->is_boolean() && !value_->get<bool>(); }

std::optional<JsonNode> JsonNode::find(std::string_view key) const {
  if (!value_->is_object()) return {};
  const auto found = value_->find(key);
  if (found == value_->end()) return {};
  return JsonNode(*found, file_, pointer_ + '/' + pointer_token(key));
}

JsonNode JsonNode::missing(std::string_view key) const {
  static const Json null;
  return JsonNode(null, file_, pointer_ + '/' + pointer_token(key));
}

JsonNode JsonNode::at(std::string_view key) const {
  if (auto found = require_object().find(key)) return *found;
  const std::string near =
      value_->size() > kMaxJsonKeysForHints ? std::string() : nearest_name(key, keys());
  throw missing(key).error("is absent",
                           near.empty() ? "" : "is '" + printable(near) + "' a slip for it?");
}

std::vector<std::string_view> JsonNode::keys() const {
  std::vector<std::string_view> names;
  if (!value_->is_object()) return names;
  for (const auto& [name, value] : value_->get_ref<const Json::object_t&>()) names.push_back(name);
  return names;
}

std::vector<JsonNode> JsonNode::items() const {
  if (!value_->is_array()) throw wrong_type("a list");
  std::vector<JsonNode> nodes;
  nodes.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i)
    nodes.emplace_back((*value_)[i], file_, pointer_ + '/' + std::to_string(i));
  return nodes;
}

const JsonNode& JsonNode::require_object() const {
  if (!value_->is_object()) throw wrong_type("an object");
  return *this;
}

int64_t JsonNode::count(int64_t least, int64_t most) const {
  const auto too_large = [&] {
    return error(shown(*value_) + " is too large", "at most " + format_count(most));
  };
  if (value_->is_number_float()) {
    const double value = value_->get<double>();
    if (value > static_cast<double>(most)) throw too_large();
    const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
    throw error("must be a whole number, not " + shown(*value_),
                whole ? "write " + std::to_string(static_cast<int64_t>(value)) : "");
  }
  if (!value_->is_number_integer()) throw wrong_type("a whole number");
  if (value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(most))
    throw too_large();
  const auto value = value_->get<int64_t>();
  if (value < least)
    throw error("must be at least " + std::to_string(least) + ", not " + std::to_string(value));
  if (value > most) throw too_large();
  return value;
}

bool JsonNode::boolean() const {
  if (!value_->is_boolean()) throw wrong_type("true or false");
  return value_->get<bool>();
}

double JsonNode::number() const {
  if (!value_->is_number()) throw wrong_type("a number");
  return value_->get<double>();
}

std::string JsonNode::number_text() const {
  number();
  return value_->dump();
}

double JsonNode::probability() const {
  const double value = number();
  if (!(value >= 0 && value <= 1))
    throw error("must be a probability from 0 to 1, not " + shown(*value_));
  return value;
}

std::string JsonNode::text() const {
  if (!value_->is_string()) throw wrong_type("a text");
  return value_->get<std::string>();
}

std::string JsonNode::one_of(const std::vector<std::string_view>& names) const {
  std::string name = text();
  if (std::ranges::find(names, name) == names.end())
    throw error("unknown name '" + printable(name) + "'", name_hint(name, names));
  return name;
}

std::vector<int64_t> JsonNode::counts(int64_t least, int64_t most) const {
  std::vector<int64_t> values;
  for (const JsonNode& item : items()) values.push_back(item.count(least, most));
  return values;
}

std::vector<std::string> JsonNode::texts() const {
  std::vector<std::string> values;
  for (const JsonNode& item : items()) values.push_back(item.text());
  return values;
}

}  // namespace memplan
