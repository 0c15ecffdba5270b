#include "memplan/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "memplan/error.h"

namespace memplan {
namespace {

[[noreturn]] void overflow() {
  throw Error(ErrorKind::too_large, "", "a byte or element count of this job does not fit 63 bits",
              "check the sizes of the model and the batch");
}

struct Unit {
  std::string_view name;  // lower case
  double bytes;
};
constexpr std::array<Unit, 12> kUnits{{{"", 1},
                                       {"b", 1},
                                       {"kib", 1024.0},
                                       {"mib", 1048576.0},
                                       {"gib", 1073741824.0},
                                       {"tib", 1099511627776.0},
                                       {"pib", 1125899906842624.0},
                                       {"kb", 1e3},
                                       {"mb", 1e6},
                                       {"gb", 1e9},
                                       {"tb", 1e12},
                                       {"pb", 1e15}}};

}  // namespace

int64_t checked_add(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) overflow();
  return sum;
}

int64_t checked_sub(int64_t a, int64_t b) {
  int64_t difference = 0;
  if (__builtin_sub_overflow(a, b, &difference)) overflow();
  return difference;
}

int64_t checked_mul(int64_t a, int64_t b) {
  int64_t out = 0;
  if (__builtin_mul_overflow(a, b, &out)) overflow();
  return out;
}

int64_t product(std::initializer_list<int64_t> factors) {
  int64_t out = 1;
  for (int64_t factor : factors) out = checked_mul(out, factor);
  return out;
}

int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

int64_t nearest_divisor(int64_t whole, int64_t wanted) {
  int64_t best = 1;
  const auto distance = [&](int64_t d) { return d < wanted ? wanted - d : d - wanted; };
  const auto consider = [&](int64_t divisor) {
    const int64_t now = distance(divisor), before = distance(best);
    if (now < before || (now == before && divisor < best)) best = divisor;
  };
  for (int64_t divisor = 1; divisor <= whole / divisor; ++divisor) {
    if (whole % divisor != 0) continue;
    consider(divisor);
    consider(whole / divisor);
  }
  return best;
}

void require_count(int64_t value, std::string_view where) {
  if (value < 1 || value > kMaxCount)
    throw Error(ErrorKind::bad_input, std::string(where), fmt::format("{} is out of range", value),
                "give a count of at least 1");
}

Bytes& Bytes::operator+=(Bytes other) {
  count_ = checked_add(count_, other.count_);
  return *this;
}

Bytes& Bytes::operator-=(Bytes other) {
  count_ = checked_sub(count_, other.count_);
  return *this;
}

Bytes parse_bytes(std::string_view text, std::string_view where) {
  const std::string whole(text);
  double value = 0;
  const char* begin = text.data();
  const char* end = begin + text.size();
  auto [rest, status] = std::from_chars(begin, end, value, std::chars_format::fixed);
  std::string_view unit(rest, static_cast<size_t>(end - rest));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  const std::string unit_lower = lower(unit);
  const auto* row = std::find_if(kUnits.begin(), kUnits.end(),
                                 [&](const Unit& u) { return u.name == unit_lower; });
  if (status != std::errc() || rest == begin || row == kUnits.end() || !std::isfinite(value))
    throw Error(ErrorKind::bad_input, std::string(where), "'" + whole + "' is not a size",
                "write a number and a unit, such as 80GiB, 80GB or 512MiB");
  const double bytes = value * row->bytes;
  if (value < 0 || bytes > 0x1p62)
    throw Error(ErrorKind::bad_input, std::string(where), "'" + whole + "' is out of range",
                "a size lies between 0 and 4 EiB");
  return Bytes(std::llround(bytes));
}

std::string format_bytes(Bytes bytes) {
  const double count = static_cast<double>(bytes.count());
  const double magnitude = std::abs(count);
  if (magnitude >= 0.01 * 0x1p30 || bytes.count() == 0)
    return fmt::format("{:.2f} GiB", count / 0x1p30);
  if (magnitude >= 0x1p20) return fmt::format("{:.2f} MiB", count / 0x1p20);
  if (magnitude >= 0x1p10) return fmt::format("{:.2f} KiB", count / 0x1p10);
  return fmt::format("{} B", bytes.count());
}

std::string format_count(int64_t count) {
  std::string digits = std::to_string(count);
  const std::ptrdiff_t first = digits.front() == '-' ? 1 : 0;
  for (std::ptrdiff_t at = std::ssize(digits) - 3; at > first; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string format_parameters(int64_t count) {
  struct Scale {
    double size;
    const char* letter;
  };
  const double value = static_cast<double>(count);
  if (value < 1e6) return format_count(count);
  // Three digits; 999.9M rounds up into the next unit.
  for (const Scale scale : {Scale{1e6, "M"}, Scale{1e9, "B"}})
    if (value < 999.5 * scale.size)
      return fmt::format("{:.3g}{}", value / scale.size, scale.letter);
  return fmt::format("{:.3g}T", value / 1e12);
}

}  // namespace memplan
