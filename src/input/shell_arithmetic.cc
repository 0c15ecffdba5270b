#include "input/shell_arithmetic.h"

#include <cctype>
#include <charconv>

#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {
namespace {

constexpr int kDeepest = 64;

struct NoNumber {};

class Arithmetic {
 public:
  Arithmetic(std::string_view text,
             const std::function<std::optional<std::string>(std::string_view)>& value_of)
      : text_(text), value_of_(value_of) {}

  int64_t all() {
    const int64_t value = sum(0);
    skip_blanks();
    if (!text_.empty()) throw NoNumber();
    return value;
  }

 private:
  void skip_blanks() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\t'))
      text_.remove_prefix(1);
  }
  bool eat(char c) {
    skip_blanks();
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }

  int64_t sum(int deep) {
    int64_t value = product_of(deep);
    while (true) {
      if (eat('+'))
        value = checked_add(value, product_of(deep));
      else if (eat('-'))
        value = checked_sub(value, product_of(deep));
      else
        return value;
    }
  }
  int64_t product_of(int deep) {
    int64_t value = factor(deep);
    while (true) {
      if (eat('*')) {
        value = checked_mul(value, factor(deep));
      } else if (eat('/')) {
        value /= divisor(deep);
      } else if (eat('%')) {
        value %= divisor(deep);
      } else {
        return value;
      }
    }
  }
  int64_t divisor(int deep) {
    const int64_t value = factor(deep);
    if (value == 0 || value == -1) throw NoNumber();  // -1: the quotient may not fit
    return value;
  }
  int64_t factor(int deep) {
    if (deep > kDeepest) throw NoNumber();
    if (eat('(')) {
      const int64_t value = sum(deep + 1);
      if (!eat(')')) throw NoNumber();
      return value;
    }
    if (eat('-')) return checked_sub(0, factor(deep + 1));
    skip_blanks();
    const bool dollar = eat('$');
    const bool brace = dollar && eat('{');
    size_t n = 0;
    while (n < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[n])) != 0 || text_[n] == '_'))
      ++n;
    const std::string_view word = text_.substr(0, n);
    text_.remove_prefix(n);
    if (word.empty() || (brace && !eat('}'))) throw NoNumber();
    if (!dollar && std::isdigit(static_cast<unsigned char>(word.front())) != 0) return number(word);
    const auto value = value_of_(word);
    if (!value) throw NoNumber();
    return number(*value);
  }
  static int64_t number(std::string_view word) {
    int64_t value = 0;
    const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (status != std::errc() || end != word.data() + word.size() || word.empty()) throw NoNumber();
    if (word.size() > 1 && word.front() == '0') throw NoNumber();  // octal
    return value;
  }

  std::string_view text_;
  const std::function<std::optional<std::string>(std::string_view)>& value_of_;
};

}  // namespace

std::optional<int64_t> shell_arithmetic(
    std::string_view text,
    const std::function<std::optional<std::string>(std::string_view)>& value_of) {
  try {
    return Arithmetic(text, value_of).all();
  } catch (const NoNumber&) {
    return {};
  } catch (const Error&) {  // too large
    return {};
  }
}

}  // namespace memplan
