#include "input/text_file.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "memplan/error.h"
#include "temporary_folder.h"

namespace memplan {
namespace {

TEST_CASE("files that cannot be read") {
  const TemporaryFolder folder;
  const auto expect = [&](const std::string& path, std::string_view fragment) {
    CHECK_THROWS_WITH_AS(read_text_file(path), doctest::Contains(fragment.data()), Error);
  };
  expect("", "name of the file is empty");
  expect(folder.path("absent.json"), "absent.json: no such file");
  expect(folder.path("absent/config.json"), "no such file");
  expect(folder.path(""), "is a folder");
  expect(folder.write("empty.json", ""), "is empty");
  expect("/dev/zero", "is not a file that can be read");
  expect(std::string("a\0b", 3), "zero byte");
  expect(folder.path(std::string(5000, 'a')), "aaa");
}

TEST_CASE("a file of 50 MB is refused without being read") {
  const TemporaryFolder folder;
  const std::string path = folder.write("large.json", "{");
  std::filesystem::resize_file(path, 50'000'000);
  CHECK_THROWS_WITH_AS(read_text_file(path), doctest::Contains("is larger than 4 MiB"), Error);
}

}  // namespace
}  // namespace memplan
