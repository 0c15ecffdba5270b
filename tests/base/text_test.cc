#include "base/text.h"

#include <doctest/doctest.h>

namespace memplan {
namespace {

TEST_CASE("folding changes case and separators alone") {
  CHECK(lower("RTX 4090Ti") == "rtx 4090ti");
  CHECK(lower("\u00c4") == "\u00c4");
  CHECK(fold_case("DGX_A100 80g") == "dgx-a100-80g");
}

TEST_CASE("splitting keeps empty parts") {
  using Parts = std::vector<std::string_view>;
  CHECK(split("1,2,4", ',') == Parts{"1", "2", "4"});
  CHECK(split("1,,", ',') == Parts{"1", "", ""});
  CHECK(split("", ',') == Parts{""});
}

TEST_CASE("broken UTF-8 is found where it begins") {
  CHECK(first_broken_utf8("a\u00e9\u20ac\U0001F600") == std::string_view::npos);
  CHECK(first_broken_utf8("ab\xff") == 2);
  CHECK(first_broken_utf8("\xe2\x82") == 0);          // cut off
  CHECK(first_broken_utf8("a\xc0\xaf") == 1);         // overlong
  CHECK(first_broken_utf8("\xed\xa0\x80") == 0);      // a surrogate
  CHECK(first_broken_utf8("\xf4\x90\x80\x80") == 0);  // above U+10FFFF
}

TEST_CASE("messages hold no control characters and end") {
  CHECK(printable("a\x1b[31m\n") == "a\\x1b[31m\\x0a");
  CHECK(printable("\xc2\x9b") == "\\xc2\\x9b");
  CHECK(printable("caf\u00e9") == "caf\u00e9");
  CHECK(printable("\xff") == "\\xff");
  CHECK(printable(std::string(1000, 'a')) == std::string(80, 'a') + "\u2026");
}

}  // namespace
}  // namespace memplan
