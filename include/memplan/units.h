// Byte counts as a strong type, checked integer arithmetic, and sizes as text.
#pragma once

#include <compare>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace memplan {

/// a + b, a - b, a * b of counts (elements, tokens, layers).
/// Throws Error{too_large} where the exact result does not fit 63 bits.
int64_t checked_add(int64_t a, int64_t b);
int64_t checked_sub(int64_t a, int64_t b);
int64_t checked_mul(int64_t a, int64_t b);

/// Product of all factors, checked; 1 for an empty list.
int64_t product(std::initializer_list<int64_t> factors);

/// a / b rounded up. b > 0, a >= 0.
int64_t ceil_div(int64_t a, int64_t b);

/// The divisor of `whole` nearest to `wanted`, the smaller of two equally near. Both positive;
/// takes sqrt(whole) steps.
int64_t nearest_divisor(int64_t whole, int64_t wanted);

/// No count that a job states (layers, tokens, GPUs, samples) comes near.
constexpr int64_t kMaxCount = int64_t{1} << 40;

/// Throws Error{bad_input} naming `where` unless 1 <= value <= kMaxCount.
void require_count(int64_t value, std::string_view where);

/// A number of bytes. Arithmetic is exact and throws Error{too_large} instead of wrapping.
class Bytes {
 public:
  constexpr Bytes() = default;
  constexpr explicit Bytes(int64_t count) : count_(count) {}

  constexpr int64_t count() const { return count_; }
  double gib() const { return static_cast<double>(count_) / (1024.0 * 1024.0 * 1024.0); }

  Bytes& operator+=(Bytes other);
  Bytes& operator-=(Bytes other);
  friend Bytes operator+(Bytes a, Bytes b) { return a += b; }
  friend Bytes operator-(Bytes a, Bytes b) { return a -= b; }
  friend Bytes operator*(Bytes a, int64_t times) { return Bytes(checked_mul(a.count_, times)); }
  friend Bytes operator*(int64_t times, Bytes a) { return a * times; }
  friend constexpr auto operator<=>(Bytes, Bytes) = default;

 private:
  int64_t count_ = 0;
};

constexpr Bytes kKiB{int64_t{1} << 10};
constexpr Bytes kMiB{int64_t{1} << 20};
constexpr Bytes kGiB{int64_t{1} << 30};

/// Reads "80GiB", "80 GB", "1.5TiB", "512MiB", "1024" (bytes). GB is 10^9, GiB 2^30; case does not
/// matter, except that a lower-case "b" alone is read as bytes too. The value may have a fraction;
/// the result is rounded to the nearest byte. `where` names the option or field for the message.
/// Throws Error{bad_input} on anything else, on negative values and above 2^62.
Bytes parse_bytes(std::string_view text, std::string_view where);

/// "14.96 GiB"; below 0.01 GiB in MiB, KiB or B. Rounds to two decimals.
std::string format_bytes(Bytes bytes);

/// "8,030,261,248".
std::string format_count(int64_t count);

/// "8.03B", "124M", "294,912": a parameter count for people.
std::string format_parameters(int64_t count);

}  // namespace memplan
