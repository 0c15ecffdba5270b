#include "input/safetensors.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "memplan/error.h"
#include "temporary_folder.h"

using namespace memplan;

namespace {

// A file with this header and `data` bytes behind it.
std::string safetensors(std::string_view header, size_t data) {
  std::string text;
  for (int i = 0; i < 8; ++i) text += static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return text + std::string(header) + std::string(data, '\0');
}

void expect_error(std::string_view bytes, std::string_view fragment) {
  const TemporaryFolder folder;
  const std::string path = folder.write("m.safetensors", bytes);
  CAPTURE(fragment);
  CHECK_THROWS_WITH_AS(read_weights(path), doctest::Contains(std::string(fragment).c_str()), Error);
}

constexpr std::string_view kTwo =
    R"({"__metadata__": {"format": "pt"},
        "b": {"dtype": "F32", "shape": [3], "data_offsets": [8, 20]},
        "a": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}})";

}  // namespace

TEST_SUITE("input/safetensors") {
  TEST_CASE("a file: names, shapes, bytes") {
    const TemporaryFolder folder;
    const WeightsFile w = read_weights(folder.write("model.safetensors", safetensors(kTwo, 20)));
    REQUIRE(w.tensors.size() == 2);
    CHECK(w.shapes_known);
    CHECK(w.total_bytes == 20);
    CHECK(w.tensors[0].name == "a");
    CHECK(w.tensors[0].shape == std::vector<int64_t>{2, 2});
    CHECK(w.tensors[0].dtype == "BF16");
    CHECK(w.tensors[1].name == "b");
    CHECK(read_weights(folder.path("")).tensors.size() == 2);
  }

  TEST_CASE("scalars, empty tensors and types below a byte") {
    const TemporaryFolder folder;
    const WeightsFile w = read_weights(folder.write(
        "m.safetensors", safetensors(R"({"s": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]},
                        "e": {"dtype": "F32", "shape": [0, 5], "data_offsets": [8, 8]},
                        "f": {"dtype": "F4", "shape": [4], "data_offsets": [8, 10]}})",
                                     10)));
    CHECK(w.total_bytes == 10);
  }

  TEST_CASE("an index with its shards beside it") {
    const TemporaryFolder folder;
    folder.write(
        "m1.safetensors",
        safetensors(R"({"a": {"dtype": "F16", "shape": [5], "data_offsets": [0, 10]}})", 10));
    folder.write("m2.safetensors",
                 safetensors(R"({"b": {"dtype": "U8", "shape": [7], "data_offsets": [0, 7]}})", 7));
    const std::string index = folder.write("model.safetensors.index.json",
                                           R"({"metadata": {"total_size": 17},
                         "weight_map": {"a": "m1.safetensors", "b": "m2.safetensors"}})");
    const WeightsFile w = read_weights(index);
    CHECK(w.shapes_known);
    CHECK(w.total_bytes == 17);
    REQUIRE(w.tensors.size() == 2);
    CHECK(w.tensors[1].file == "m2.safetensors");
    CHECK(read_weights(folder.path("")).total_bytes == 17);
    folder.write("bad.json", R"({"weight_map": {"a": "m1.safetensors", "c": "m2.safetensors"}})");
    CHECK_THROWS_WITH_AS(read_weights(folder.path("bad.json")),
                         doctest::Contains("'c' is not in m2.safetensors"), Error);
  }

  TEST_CASE("an index alone gives names and total size") {
    const TemporaryFolder folder;
    const WeightsFile w = read_weights(folder.write("i.json", R"({"metadata": {"total_size": 123.0},
                                   "weight_map": {"b": "x.safetensors", "a": "x.safetensors"}})"));
    CHECK_FALSE(w.shapes_known);
    CHECK(w.total_bytes == 123);
    CHECK(w.missing_shards == std::vector<std::string>{"x.safetensors"});
    REQUIRE(w.tensors.size() == 2);
    CHECK(w.tensors[0].name == "a");
    CHECK(w.tensors[0].shape.empty());
  }

  TEST_CASE("files that are no safetensors") {
    expect_error("", "too short");
    expect_error("1234567", "too short");
    expect_error(std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10),
                 "18446744073709551615 bytes");
    expect_error(std::string("\0\0\0\0\0\0\0\x80{}", 10), "up to 32 MiB");
    expect_error(std::string("\x10\0\0\0\0\0\0\0{}", 10), "ends within its header");
    expect_error(safetensors("[]", 0), "is not a safetensors file");
    expect_error(safetensors("{\"a\": ", 0), "ends in the middle");
    expect_error(safetensors("{\"a\xFF\": 1}", 0), "not UTF-8");
    expect_error(std::string("PK\x03\x04") + std::string(50, 'x'), "is a PyTorch checkpoint");
    expect_error("GGUF" + std::string(50, 'x'), "is a GGUF file");
    expect_error("version https://git-lfs.github.com/spec/v1\noid", "git lfs pull");
    CHECK_THROWS_WITH_AS(read_weights("absent.safetensors"), doctest::Contains("no such file"),
                         Error);
    const TemporaryFolder folder;
    CHECK_THROWS_WITH_AS(read_weights(folder.path("")), doctest::Contains("holds no model"), Error);
  }

  TEST_CASE("headers that contradict themselves or the file") {
    const auto one = [](std::string_view entry, size_t data) {
      return safetensors("{\"a\": " + std::string(entry) + "}", data);
    };
    expect_error(one("1", 0), "/a: must be an object");
    expect_error(one(R"({"dtype": "F32", "shape": [2]})", 8), "/a/data_offsets: is absent");
    expect_error(one(R"({"dtype": "F33", "shape": [2], "data_offsets": [0, 8]})", 8),
                 "/a/dtype: unknown dtype 'F33'");
    expect_error(one(R"({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]})", 8),
                 "/a/shape/0");
    expect_error(one(R"({"dtype": "F32", "shape": [2], "data_offsets": [0, 9]})", 9),
                 "spans 9 bytes, but dtype and shape make 8");
    expect_error(one(R"({"dtype": "F32", "shape": [2], "data_offsets": [8, 0]})", 8),
                 "two numbers");
    expect_error(one(R"({"dtype": "F32", "shape": [2], "data_offsets": [0]})", 8), "two numbers");
    expect_error(one(R"({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]})", 7),
                 "before its last tensor");
    expect_error(one(R"({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]})", 9),
                 "1 bytes behind the last tensor");
    expect_error(one(R"({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]})", 12),
                 "a hole of 4 bytes");
    expect_error(one(R"({"dtype": "F4", "shape": [3], "data_offsets": [0, 1]})", 1),
                 "no whole number of bytes");
    const std::string dimension = "281474976710656";  // 2^48, thrice: beyond 63 bits
    const std::string shape = "[" + dimension + "," + dimension + "," + dimension + "]";
    const TemporaryFolder folder;
    const std::string path = folder.write(
        "m.safetensors",
        one(R"({"dtype": "F32", "shape": )" + shape + R"(, "data_offsets": [0, 8]})", 8));
    CHECK_THROWS_AS(read_weights(path), Error);
    expect_error(safetensors(R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                                 "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}})",
                             6),
                 "'b' overlaps");
    expect_error(safetensors(R"({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                                 "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}})",
                             1),
                 "/a: the key is given twice");
  }

  TEST_CASE("bad indices") {
    const TemporaryFolder folder;
    const auto expect = [&](std::string_view text, const char* fragment) {
      CHECK_THROWS_WITH_AS(read_weights(folder.write("i.json", text)), doctest::Contains(fragment),
                           Error);
    };
    expect("{}", "no weight_map");
    expect(R"({"weight_map": []})", "/weight_map: must be an object");
    expect(R"({"weight_map": {}})", "names no tensor");
    expect(R"({"weight_map": {"a": 1}})", "/weight_map/a: must be a text");
    expect(R"({"weight_map": {"a": "../x.safetensors"}})", "beside the index");
    expect(R"({"weight_map": {"a": "x"}, "metadata": {"total_size": -1}})", "/metadata/total_size");
    expect(R"({"weight_map": {"a": "x"}, "metadata": {"total_size": "1"}})", "must be a number");
  }
}
