#include "memplan/units.h"

#include <doctest/doctest.h>

#include <limits>

#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

TEST_CASE("sizes are read in powers of ten and of two") {
  CHECK(parse_bytes("80GiB", "--gpu-memory") == Bytes(80 * (int64_t{1} << 30)));
  CHECK(parse_bytes("80GB", "x") == Bytes(80'000'000'000));
  CHECK(parse_bytes("80 gb", "x") == Bytes(80'000'000'000));
  CHECK(parse_bytes("1.5TiB", "x") == Bytes(3 * (int64_t{1} << 39)));
  CHECK(parse_bytes("512MiB", "x") == Bytes(512 << 20));
  CHECK(parse_bytes("1024", "x") == Bytes(1024));
  CHECK(parse_bytes("0", "x") == Bytes(0));
}

TEST_CASE("what is no size is refused, naming the option") {
  for (const char* text : {"", "GiB", "80XB", "-1GiB", "1e3GiB", "80GiBs", "nan", "inf", "0x10",
                           "99999999999TiB", "1..5GiB", "+4GiB"}) {
    CAPTURE(text);
    try {
      parse_bytes(text, "--gpu-memory");
      FAIL_CHECK("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::bad_input);
      CHECK(error.where() == "--gpu-memory");
      CHECK_FALSE(error.hint().empty());
    }
  }
}

TEST_CASE("arithmetic is exact or an error, never a wrap") {
  CHECK(checked_mul(int64_t{1} << 31, int64_t{1} << 31) == int64_t{1} << 62);
  CHECK_THROWS_AS(checked_mul(int64_t{1} << 32, int64_t{1} << 32), Error);
  CHECK_THROWS_AS(checked_add(kMost, 1), Error);
  CHECK_THROWS_AS(checked_sub(-2, kMost), Error);
  CHECK_THROWS_AS(Bytes(kMost) + Bytes(1), Error);
  CHECK_THROWS_AS(Bytes(kMost / 2 + 1) * 2, Error);
  CHECK(Bytes(7) - Bytes(9) == Bytes(-2));
  CHECK(product({}) == 1);
  CHECK(product({3, 5, 7}) == 105);
  CHECK(ceil_div(10, 4) == 3);
  CHECK(ceil_div(8, 4) == 2);
  CHECK(ceil_div(kMost, 2) == kMost / 2 + 1);
}

TEST_CASE("the nearest divisor of a large prime is found at once") {
  CHECK(nearest_divisor(12, 5) == 4);  // the smaller of 4 and 6
  CHECK(nearest_divisor(12, 7) == 6);
  CHECK(nearest_divisor(12, 100) == 12);
  constexpr int64_t kPrime = 1'099'511'627'689;  // the largest below 2^40
  CHECK(nearest_divisor(kPrime, kPrime / 3) == 1);
  CHECK(nearest_divisor(kPrime, kPrime / 3 * 2) == kPrime);
}

TEST_CASE("a count lies between 1 and 2^40") {
  require_count(1, "--tp");
  require_count(kMaxCount, "--tp");
  for (const int64_t count : {int64_t{-1}, int64_t{0}, kMaxCount + 1})
    CHECK_THROWS_WITH_AS(require_count(count, "--tp"), doctest::Contains("--tp: "), Error);
}

TEST_CASE("sizes and counts are printed for people") {
  CHECK(format_bytes(Bytes(0)) == "0.00 GiB");
  CHECK(format_bytes(Bytes(int64_t{16} << 30)) == "16.00 GiB");
  CHECK(format_bytes(Bytes(3 << 20)) == "3.00 MiB");
  CHECK(format_bytes(Bytes(1536)) == "1.50 KiB");
  CHECK(format_bytes(Bytes(12)) == "12 B");
  CHECK(format_bytes(Bytes(-(int64_t{2} << 30))) == "-2.00 GiB");
  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(8'030'261'248) == "8,030,261,248");
  CHECK(format_count(-1000) == "-1,000");
  CHECK(format_parameters(8'030'261'248) == "8.03B");
  CHECK(format_parameters(294'912) == "294,912");
  CHECK(format_parameters(999'885'952) == "1B");
  CHECK(format_parameters(999'885'952'000) == "1T");
  CHECK(format_parameters(999'400'000) == "999M");
}

}  // namespace
}  // namespace memplan
