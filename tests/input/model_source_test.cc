#include "input/model_source.h"

#include <doctest/doctest.h>

#include <string>

#include "memplan/error.h"
#include "temporary_folder.h"

using namespace memplan;

namespace {

constexpr const char* kTiny =
    R"({"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2})";

void expect_error(const std::string& word, const std::string& fragment) {
  CAPTURE(word);
  CHECK_THROWS_WITH_AS(read_model(word), doctest::Contains(fragment.c_str()), Error);
}

}  // namespace

TEST_SUITE("input/model_source") {
  TEST_CASE("a preset, whatever the case") {
    CHECK(read_model("llama3-8b").hidden == 4096);
    const ModelSpec m = read_model("Llama3_8B");
    CHECK(m.name == "llama3-8b");
    CHECK_FALSE(m.bare_parameters);
  }

  TEST_CASE("a bare size is a whole number of parameters") {
    CHECK(parse_bare_size("7.5B") == 7'500'000'000);
    CHECK(parse_bare_size("124M") == 124'000'000);
    CHECK(parse_bare_size("1t") == 1'000'000'000'000);
    CHECK(parse_bare_size("350k") == 350'000);
    CHECK(parse_bare_size("0.5B") == 500'000'000);
    CHECK(parse_bare_size("1.0000000000000B") == 1'000'000'000);
    for (const char* word :
         {"7.5", "B", "7.5.1B", ".5B", "7.B", "-7B", "7e9B", "7 B", "1,5B", "7BB", ""})
      CHECK_FALSE(parse_bare_size(word));
    CHECK_THROWS_WITH_AS(parse_bare_size("0B"), doctest::Contains("is zero"), Error);
    CHECK_THROWS_WITH_AS(parse_bare_size("1.2345K"), doctest::Contains("no whole number"), Error);
    CHECK_THROWS_WITH_AS(parse_bare_size("99999999999999999999999B"),
                         doctest::Contains("above 1000T"), Error);
    CHECK(parse_bare_size("1000T") == 1'000'000'000'000'000);
    CHECK_THROWS_AS(parse_bare_size("1001T"), Error);
    CHECK(read_model("7.5B").bare_parameters == 7'500'000'000);
    CHECK(read_model("7.5B").hidden == 0);
  }

  TEST_CASE("a file, or a folder that holds one") {
    const TemporaryFolder folder;
    const std::string file = folder.write("config.json", kTiny);
    CHECK(read_model(file).hidden == 8);
    CHECK(read_model(folder.path("")).hidden == 8);
    CHECK(read_model(file).name == file);
    CHECK(read_model(folder.write("7B", kTiny)).hidden == 8);  // a path is no size
    CHECK(read_model(folder.write("gpt2", kTiny)).hidden == 8);
  }

  TEST_CASE("what is none of them") {
    expect_error("llama3-8", "did you mean 'llama3-8b'?");
    expect_error("llama3-8", "MODEL is a preset");
    expect_error("meta-llama/Llama3-8B", "did you mean 'llama3-8b'?");
    expect_error("someone/xyzzyplugh", "are not downloaded");
    expect_error("", "MODEL");
    expect_error("absent.json", "no such file");
    expect_error(std::string("a\0b", 3), "a\\x00b");
    expect_error("\x1b[31m", "\\x1b[31m");
    expect_error(std::string(10000, 'x'), "no preset");
    const TemporaryFolder folder;
    expect_error(folder.path("."), "holds no config.json");
    expect_error(folder.write("model.safetensors", "x"), "holds weights");
    folder.write("adapter_config.json", "{}");
    expect_error(folder.path("."), "--peft");
    expect_error(folder.write("config.json", "{"), "ends in the middle");
  }
}
