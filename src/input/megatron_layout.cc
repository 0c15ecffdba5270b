#include "input/megatron_layout.h"

#include <charconv>

#include "base/text.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr size_t kMostLayers = 100'000;
constexpr int kDeepest = 32;

[[noreturn]] void bad(const std::string& where, std::string problem, std::string hint) {
  throw Error(ErrorKind::bad_input, where, std::move(problem), std::move(hint));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Digits at the front of `text`, which are eaten; -1: none, or too many.
int64_t eat_number(std::string_view& text) {
  size_t n = 0;
  while (n < text.size() && is_digit(text[n])) ++n;
  int64_t value = -1;
  if (n == 0 || n > 9) return -1;
  std::from_chars(text.data(), text.data() + n, value);
  text.remove_prefix(n);
  return value;
}

// Python's sums and products of lists and whole numbers, as far as _eval_pattern lets them pass.
class ListExpression {
 public:
  ListExpression(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  std::vector<int64_t> all() {
    const Value value = sum(0);
    if (!text_.empty() || !value.list) fail();
    return value.items;
  }

 private:
  struct Value {
    bool list = false;
    std::vector<int64_t> items;  // one, where it is a number
  };

  [[noreturn]] void fail() const {
    bad(where_, "--moe-layer-freq is neither a number nor a list of 0 and 1",
        "write 2, or a list such as ([0]*3+[1]*12)");
  }
  bool eat(char c) {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }

  Value sum(int deep) {
    Value value = times(deep);
    while (eat('+')) {
      const Value other = times(deep);
      if (!value.list || !other.list) fail();
      value.items.insert(value.items.end(), other.items.begin(), other.items.end());
      if (value.items.size() > kMostLayers) fail();
    }
    return value;
  }
  Value times(int deep) {
    Value value = atom(deep);
    while (eat('*')) {
      Value other = atom(deep);
      if (value.list == other.list) fail();
      if (!value.list) std::swap(value, other);
      const auto factor = static_cast<size_t>(other.items.front());
      if (factor * value.items.size() > kMostLayers || factor > kMostLayers) fail();
      const std::vector<int64_t> once = value.items;
      value.items.clear();
      for (size_t i = 0; i < factor; ++i)
        value.items.insert(value.items.end(), once.begin(), once.end());
    }
    return value;
  }
  Value atom(int deep) {
    if (deep > kDeepest) fail();
    if (eat('(')) {
      Value value = sum(deep + 1);
      if (!eat(')')) fail();
      return value;
    }
    if (eat('[')) {
      Value value{true, {}};
      while (!eat(']')) {
        const int64_t item = eat_number(text_);
        if (item < 0 || item > 1 || value.items.size() > kMostLayers) fail();
        value.items.push_back(item);
        if (!eat(',') && !text_.starts_with(']')) fail();
      }
      return value;
    }
    const int64_t number = eat_number(text_);
    if (number < 0) fail();
    return {false, {number}};
  }

  std::string_view text_;
  const std::string& where_;
};

// (ab|)*3 -> ab|ab|ab|; then x*3 -> xxx.
std::string unrolled(std::string_view text, bool brackets, const std::string& where) {
  std::string out;
  while (!text.empty()) {
    std::string_view part = text.substr(0, 1);
    size_t length = 1;
    if (brackets && text.front() == '(') {
      const size_t close = text.find(')');
      if (close == text.npos) bad(where, "the layout's ( is not closed", "write (tt|)*6");
      part = text.substr(1, close - 1);
      length = close + 1;
    }
    const bool bracket = length > 1;
    std::string_view rest = text.substr(length);
    int64_t times = 1;
    if ((bracket || !brackets) && rest.starts_with('*')) {
      rest.remove_prefix(1);
      times = eat_number(rest);
      if (times < 0) bad(where, "the layout has no number behind a '*'", "write t*3");
    } else if (bracket) {
      bad(where, "the layout has brackets without a number", "write (tt|)*6");
    }
    if (out.size() + part.size() * static_cast<size_t>(times) > kMostLayers)
      bad(where, "the layout has more than 100,000 letters", "write fewer");
    for (int64_t i = 0; i < times; ++i) out += part;
    text = rest;
  }
  return out;
}

}  // namespace

std::vector<bool> parse_layer_pattern(std::string_view text, int64_t layers,
                                      const std::string& where) {
  std::vector<bool> out;
  std::string_view rest = text;
  if (const int64_t every = eat_number(rest); every > 0 && rest.empty()) {
    for (int64_t i = 0; i < layers; ++i) out.push_back(i % every == 0);
    return out;
  }
  std::string plain(text);
  std::erase(plain, ' ');
  for (int64_t item : ListExpression(plain, where).all()) out.push_back(item == 1);
  if (static_cast<int64_t>(out.size()) != layers)
    bad(where,
        "--moe-layer-freq has " + std::to_string(out.size()) + " entries for " +
            std::to_string(layers) + " layers",
        "give one for each layer");
  return out;
}

std::vector<std::string> parse_pipeline_layout(std::string_view text, const std::string& where) {
  std::string plain(text);
  std::erase(plain, ',');
  plain = unrolled(unrolled(plain, true, where), false, where);
  for (char c : plain)
    if (c != 'E' && c != 't' && c != 'm' && c != 'L' && c != '|')
      bad(where, "the layout holds '" + printable(std::string(1, c)) + "'",
          "letters are E, t, m and L, stages end at |");
  std::vector<std::string> out;
  for (std::string_view chunk : split(plain, '|')) out.emplace_back(chunk);
  return out;
}

}  // namespace memplan
