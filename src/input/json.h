// JSON files read strictly, and values that know the file and the pointer they stand at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {

constexpr int kMaxJsonDepth = 64;              ///< of nested arrays and objects
constexpr size_t kMaxJsonKeysForHints = 1000;  ///< above, the nearest key is not looked for: time

/// A value of a document. All getters throw Error{bad_input}("FILE: /pointer", problem, hint).
/// Copies are cheap; the document must outlive them.
class JsonNode {
 public:
  JsonNode(const nlohmann::json& value, std::string_view file, std::string pointer);

  /// "FILE: /pointer"; "FILE" for the root.
  std::string where() const;
  Error error(std::string problem, std::string hint = {},
              ErrorKind kind = ErrorKind::bad_input) const;

  bool same_value(const JsonNode& other) const;
  bool is_null() const;
  bool is_object() const;
  bool is_array() const;
  bool is_text() const;
  bool is_boolean() const;
  bool is_false() const;  ///< the boolean false

  /// The member `key` of an object, or nothing.
  std::optional<JsonNode> find(std::string_view key) const;
  /// The member `key`. Throws where it is absent, with the key most like it.
  JsonNode at(std::string_view key) const;
  /// Where the absent member `key` would stand: for messages.
  JsonNode missing(std::string_view key) const;
  std::vector<std::string_view> keys() const;  ///< of an object, sorted
  std::vector<JsonNode> items() const;         ///< of an array
  const JsonNode& require_object() const;

  /// A whole number in least … most, written without fraction or exponent ("4096.0" is refused).
  int64_t count(int64_t least = 1, int64_t most = kMaxCount) const;
  bool boolean() const;
  double number() const;            ///< any finite number
  std::string number_text() const;  ///< a number as JSON writes it
  double probability() const;       ///< 0 … 1
  std::string text() const;
  /// One of `names`, else an error with the nearest.
  std::string one_of(const std::vector<std::string_view>& names) const;
  std::vector<int64_t> counts(int64_t least, int64_t most) const;
  std::vector<std::string> texts() const;

 private:
  Error wrong_type(std::string_view wanted) const;

  const nlohmann::json* value_;
  std::string_view file_;
  std::string pointer_;
};

/// A parsed file.
class JsonDocument {
 public:
  /// Parses `text`. Throws Error{bad_input}: not UTF-8, a byte order mark, a syntax error (with
  /// line and column), a key given twice (with its pointer), nesting deeper than kMaxJsonDepth.
  JsonDocument(std::string_view text, std::string_view file);
  ~JsonDocument();
  JsonDocument(JsonDocument&&) noexcept;

  JsonNode root() const;
  const std::string& file() const { return *file_; }

 private:
  std::unique_ptr<const std::string> file_;  // nodes point at it, also after a move
  std::unique_ptr<nlohmann::json> root_;
};

}  // namespace memplan
