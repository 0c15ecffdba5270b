#include "input/sample_lengths.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdio>
#include <fstream>

#include "memplan/error.h"

using namespace memplan;

namespace {

SampleLengths read(const std::string& text) {
  const std::string path = "sample_lengths_test.txt";
  std::ofstream(path) << text;
  const SampleLengths out = read_sample_lengths(path);
  std::remove(path.c_str());
  return out;
}

std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const Error& error) {
    std::remove("sample_lengths_test.txt");
    return error.what();
  }
  return "";
}

using Counts = std::vector<std::pair<int64_t, int64_t>>;

}  // namespace

TEST_CASE("histograms and lists, in text and in JSON, say the same") {
  const Counts wanted{{128, 2}, {512, 1}};
  for (const char* text : {"512 1\n128 2\n", "# tokens samples\n128\n\n512\r\n128 1 # again\n",
                           "128, 2\n512, 1", R"({"512": 1, "128": 2})", "[128, 512, 128]"}) {
    const SampleLengths lengths = read(text);
    CHECK(lengths.counts == wanted);
    CHECK(lengths.samples == 3);
  }
}

TEST_CASE("the median micro-batch is longer than the median sample") {
  const SampleLengths lengths = read("100 50\n200 25\n400 25\n");
  CHECK(lengths.median_padded(1) == 100);
  CHECK(lengths.median_padded(2) == 200);  // both at most 200: 0.75² = 0.5625
  CHECK(lengths.median_padded(3) == 400);  // 0.75³ = 0.42
  CHECK(lengths.longer_than(100) == 50);
  CHECK(lengths.longer_than(400) == 0);
}

TEST_CASE("longer samples are cut") {
  const SampleLengths lengths = read("100 50\n200 25\n400 25\n");
  CHECK(lengths.cut(300).counts == Counts{{100, 50}, {200, 25}, {300, 25}});
  CHECK(lengths.cut(200).counts == Counts{{100, 50}, {200, 50}});
  CHECK(lengths.cut(1000).counts == lengths.counts);
  CHECK(lengths.cut(10).counts == Counts{{10, 100}});
  CHECK(lengths.cut(10).samples == 100);
}

TEST_CASE("what holds no lengths is refused where it stands") {
  const std::vector<std::array<const char*, 2>> cases = {
      {" \n# nothing\n", "holds no length"},
      {"[]", "holds no length"},
      {"12\n-5\n", ":2: '-5' is no whole number from 1"},
      {"0 4\n", ":1: '0' is no whole"},
      {"12 0\n", ":1: '0' is no whole"},
      {"1.5\n", ":1: '1.5' is no whole"},
      {"99999999999999999999\n", "is no whole number"},
      {"12 3 4\n", ":1: holds 3 words"},
      {"length count\n", "'length' is no whole number"},
      {R"({"12": "many"})", "/12: must be a whole number"},
      {R"({"twelve": 3})", "/twelve: 'twelve' is no whole number"},
      {"[12, null]", "/1: must be a whole number"},
      {"[12", "line 1"},
      {"1 1125899906842624\n2 1125899906842624\n", "holds more than 1125899906842624 samples"},
  };
  for (const auto& [text, message] : cases) {
    CAPTURE(text);
    CHECK(refusal(text).find(message) != std::string::npos);
  }
}
