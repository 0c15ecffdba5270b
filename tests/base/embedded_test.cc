#include "base/embedded.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace fs = std::filesystem;

namespace memplan {
namespace {

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The folder holds exactly these files, and they are embedded byte for byte.
void check_mirrors(std::span<const EmbeddedFile> embedded, const fs::path& folder) {
  std::size_t files = 0;
  if (fs::exists(folder)) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      files += entry.path().extension() == ".json";
    }
  }
  CHECK(embedded.size() == files);
  CHECK(std::ranges::is_sorted(embedded, {}, &EmbeddedFile::name));
  for (const EmbeddedFile& file : embedded) {
    CAPTURE(file.name);
    CHECK(file.text == read(folder / (std::string(file.name) + ".json")));
  }
}

TEST_CASE("embedded files mirror the source tree") {
  const fs::path root = MEMPLAN_SOURCE_DIR;
  check_mirrors(embedded_models(), root / "models");
  check_mirrors(embedded_profiles(), root / "calibration" / "profiles");
}

}  // namespace
}  // namespace memplan
