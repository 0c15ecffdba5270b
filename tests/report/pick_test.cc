#include "report/pick.h"

#include <doctest/doctest.h>

#include "memplan/error.h"

namespace memplan {
namespace {

constexpr std::string_view kReport = R"({
  "verdict": {"fits": true, "risk": "tight", "share": 0.25, "none": null},
  "ranks": [{"bytes": 1}, {"bytes": 22}],
  "a/b": {"~": 7}, "empty": []
})";

std::string picked(std::string_view pointers) { return pick(kReport, pointers, "--get"); }

std::string complaint(std::string_view pointers) {
  try {
    picked(pointers);
  } catch (const Error& error) {
    CHECK(error.exit_code() == 2);
    return error.what();
  }
  return {};
}

TEST_CASE("values are bare, one a line") {
  CHECK(picked("/verdict/risk") == "tight\n");
  CHECK(picked("/verdict/fits,/verdict/share,/verdict/none") == "true\n0.25\nnull\n");
  CHECK(picked("/ranks/1/bytes") == "22\n");
  CHECK(picked("/ranks/1") == "{\"bytes\":22}\n");
  CHECK(picked("/a~1b/~0") == "7\n");
}

TEST_CASE("a star is every element") {
  CHECK(picked("/ranks/*/bytes") == "1\n22\n");
  CHECK(picked("/a~1b/*") == "7\n");
  CHECK(picked("/empty/*/bytes").empty());
}

TEST_CASE("a pointer that names nothing says where it ends and what is near") {
  CHECK(complaint("/verdict/fit") == "--get: /verdict has no 'fit'; did you mean 'fits'?");
  CHECK(complaint("/rank").find("the report has no 'rank'; did you mean 'ranks'?") !=
        std::string::npos);
  CHECK(complaint("/ranks/2").find("give 0 to 1") != std::string::npos);
  CHECK(complaint("/ranks/-1").find("give 0 to 1") != std::string::npos);
  CHECK(complaint("/ranks/*/byte").find("/ranks/* has no 'byte'") != std::string::npos);
  CHECK(complaint("/empty/0").find("empty") != std::string::npos);
  CHECK(complaint("/verdict/risk/0").find("nothing lies below") != std::string::npos);
  CHECK(complaint("verdict").find("no JSON pointer") != std::string::npos);
  CHECK(complaint("").find("no JSON pointer") != std::string::npos);
  CHECK(complaint("/verdict,").find("no JSON pointer") != std::string::npos);
}

}  // namespace
}  // namespace memplan
