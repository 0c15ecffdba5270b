#include "report/table.h"

#include <doctest/doctest.h>

namespace memplan {
namespace {

TEST_CASE("width counts columns, not bytes") {
  CHECK(display_width("") == 0);
  CHECK(display_width("abc") == 3);
  CHECK(display_width("8 × h") == 5);
  CHECK(display_width("e\u0301") == 1);  // combining acute
  CHECK(display_width("模型") == 4);
  CHECK(display_width("\xff\xc3") == 2);  // broken UTF-8, byte by byte
}

TEST_CASE("columns are aligned whatever their letters cost") {
  Table table({Align::left, Align::right});
  table.add({{"ab"}, {"1"}});
  table.add({{"×"}, {"22"}});
  table.add({{"模型"}, {}});
  CHECK(table.render(2, false) == "  ab     1\n  ×     22\n  模型\n");
}

TEST_CASE("an empty cell keeps its column") {
  Table table({Align::left, Align::right, Align::right});
  table.add({{"a"}, {"1.00"}, {"2"}});
  table.add({{"b"}, {}, {"3"}});
  CHECK(table.render(0, false) == "a  1.00  2\nb        3\n");
}

TEST_CASE("a long last cell goes on below itself") {
  Table table({Align::left, Align::left}, 30);
  table.add({{"--x"}, {"one two three four five six seven"}});
  CHECK(table.render(0, false) == "--x  one two three four five\n     six seven\n");
}

TEST_CASE("colour wraps the text and not its padding") {
  Table table({Align::right});
  table.add({{"long"}});
  table.add({{"x", Ink::red}});
  CHECK(table.render(0, true) == "long\n   \033[31mx\033[0m\n");
  CHECK(paint("x", Ink::green, false) == "x");
}

TEST_CASE("shorten keeps both ends") {
  CHECK(shorten("abcdef", 6) == "abcdef");
  CHECK(shorten("abcdefgh", 5) == "ab…gh");
  CHECK(shorten("××××××××", 5) == "××…××");
  CHECK(shorten("abc", 0).empty());
  CHECK(display_width(shorten("模型模型模型", 7)) <= 7);
}

TEST_CASE("wrap indents what follows and keeps a word that is too long") {
  CHECK(wrap("aa bb cc", "- ", 7) == "- aa bb\n  cc\n");
  CHECK(wrap("abcdefghij k", "", 4) == "abcdefghij\nk\n");
  CHECK(wrap("", "x ", 10) == "x \n");
}

TEST_CASE("control characters cannot steer the terminal") {
  CHECK(visible("a\x1b[31mb\n") == "a?[31mb?");
  CHECK(visible("é×") == "é×");
}

TEST_CASE("sizes are told in the unit that shows them") {
  CHECK(size_text(Bytes(0)) == "0");
  CHECK(fine_size_text(Bytes(0)) == "0");
  CHECK(fine_size_text(kMiB * 32) == "32.00 MiB");
  CHECK(fine_size_text(kGiB * 2) == "2.00 GiB");
  CHECK(fine_size_text(Bytes(512)) == "512 B");
}

}  // namespace
}  // namespace memplan
