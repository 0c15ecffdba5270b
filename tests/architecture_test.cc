// The house rules that a machine can read: which folder may include which, what public headers may
// include, how long a file may be, and that no text speaks of the machine it was written on.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;

namespace {

using Findings = std::vector<std::string>;

// A folder includes itself and the folders before it.
constexpr std::array<std::string_view, 11> kLayers = {
    "base", "job", "ops", "policy", "schedule", "lower", "cost", "sim", "search", "report", "cli"};
// `input` stands beside them: it knows these two, and `cli` alone knows it.
constexpr std::array<std::string_view, 3> kInputKnows = {"base", "job", "input"};
constexpr std::size_t kMaxPublicHeaders = 10;
constexpr std::ptrdiff_t kMaxLines = 600;

struct File {
  std::string path;  // from the root of the source tree, with '/'
  std::string text;
};

struct Include {
  std::string_view target;
  bool angled = false;
};

template <typename Range>
bool contains(const Range& range, std::string_view word) {
  return std::ranges::find(range, word) != std::ranges::end(range);
}

std::string_view trim_left(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(" \t"), text.size()));
}

// The target of an #include line.
std::optional<Include> parse_include(std::string_view line) {
  line = trim_left(line);
  if (!line.starts_with('#')) return {};
  line = trim_left(line.substr(1));
  if (!line.starts_with("include")) return {};
  line = trim_left(line.substr(7));
  if (line.empty() || (line[0] != '"' && line[0] != '<')) return {};
  const bool angled = line[0] == '<';
  const std::size_t end = line.find(angled ? '>' : '"', 1);
  if (end == line.npos) return {};
  return Include{line.substr(1, end - 1), angled};
}

std::vector<Include> includes_of(std::string_view text) {
  std::vector<Include> includes;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (auto include = parse_include(text.substr(0, end))) includes.push_back(*include);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return includes;
}

std::string_view first_folder(std::string_view path) {
  const std::size_t slash = path.find('/');
  return slash == path.npos ? std::string_view() : path.substr(0, slash);
}

bool may_include(std::string_view from, std::string_view to) {
  if (to == "memplan") return true;  // the public headers
  if (from == "input") return contains(kInputKnows, to);
  if (to == "input") return from == "cli";
  const auto a = std::ranges::find(kLayers, from);
  const auto b = std::ranges::find(kLayers, to);
  return a != kLayers.end() && b <= a && b != kLayers.end();
}

// Standard headers are the angled ones without a folder and without an extension.
bool is_third_party(const Include& include) {
  return include.angled && include.target.find_first_of("/.") != include.target.npos;
}

Findings check_includes(const File& file) {
  Findings findings;
  const auto report = [&](const Include& include, std::string_view why) {
    findings.push_back(file.path + " includes " + std::string(include.target) + ": " +
                       std::string(why));
  };
  const bool is_public = file.path.starts_with("include/");
  const bool is_header = file.path.ends_with(".h");
  const std::string_view from =
      is_public ? "memplan" : first_folder(std::string_view(file.path).substr(4));
  for (const Include& include : includes_of(file.text)) {
    if (is_third_party(include)) {
      if (is_public) {
        report(include, "a public header includes no third-party header");
      } else if (is_header && include.target != "nlohmann/json_fwd.hpp") {
        report(include, "third-party headers are heavy: include them in .cc files");
      }
    } else if (!include.angled) {
      const std::string_view to = first_folder(include.target);
      if (to.empty()) {
        report(include, "write the path from src/ or include/");
      } else if (is_public ? to != "memplan" : !may_include(from, to)) {
        report(include, "the arrow from " + std::string(from) + " to " + std::string(to) +
                            " points the wrong way");
      }
    }
  }
  return findings;
}

Findings check_length(const File& file) {
  const auto lines = std::ranges::count(file.text, '\n');
  if (lines <= kMaxLines) return {};
  return {file.path + " has " + std::to_string(lines) + " lines; more than " +
          std::to_string(kMaxLines) + " are two files"};
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// `word` at a place where it begins a path (or, for an absolute path, anywhere) and ends a name.
bool has_path(std::string_view text, std::string_view word) {
  for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    const bool begins = word[0] == '/' ? at == 0 || !is_word(text[at - 1])
                                       : at == 0 || (!is_word(text[at - 1]) && text[at - 1] != '/');
    const bool ends = word.back() == '/' || end == text.size() || !is_word(text[end]);
    if (begins && ends) return true;
  }
  return false;
}

Findings check_words(const File& file) {
  Findings findings;
  // Spelled in two halves, so that this file passes its own check.
  for (const std::string& word : {std::string("/wo") + "rk", std::string("sha") + "red/"}) {
    if (has_path(file.text, word)) findings.push_back(file.path + " speaks of " + word);
  }
  return findings;
}

Findings check_public_count(const std::vector<File>& files) {
  const auto count = static_cast<std::size_t>(std::ranges::count_if(
      files, [](const File& file) { return file.path.starts_with("include/"); }));
  if (count <= kMaxPublicHeaders) return {};
  return {"include/memplan has " + std::to_string(count) + " headers; the face has at most " +
          std::to_string(kMaxPublicHeaders)};
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Every text file of the source tree, build folders and hidden folders other than .ci left out.
std::vector<File> source_tree(const fs::path& root) {
  std::vector<File> files;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::recursive_directory_iterator();
       ++it) {
    const std::string name = it->path().filename().string();
    if (it->is_directory()) {
      const bool hidden = name.starts_with('.') && name != ".ci";
      if (hidden || name.starts_with("build")) it.disable_recursion_pending();
    } else if (it->is_regular_file() && name != ".git") {  // a worktree's is a file
      std::string text = read(it->path());
      if (text.find('\0') == text.npos) {
        files.push_back({fs::relative(it->path(), root).generic_string(), std::move(text)});
      }
    }
  }
  return files;
}

bool is_engine(const File& file) {
  return file.path.starts_with("src/") || file.path.starts_with("include/");
}

void expect_none(const Findings& findings) {
  for (const std::string& finding : findings) FAIL_CHECK(finding);
}

TEST_SUITE("architecture") {
  TEST_CASE("the source tree keeps the house rules") {
    const std::vector<File> files = source_tree(MEMPLAN_SOURCE_DIR);
    REQUIRE(std::ranges::any_of(files, is_engine));
    std::vector<File> engine;
    std::ranges::copy_if(files, std::back_inserter(engine), is_engine);
    for (const File& file : engine) {
      expect_none(check_includes(file));
      expect_none(check_length(file));
    }
    for (const File& file : files) expect_none(check_words(file));
    expect_none(check_public_count(engine));
  }

  TEST_CASE("an arrow that points up is found") {
    const auto bad = [](std::string path, std::string line) {
      return check_includes({std::move(path), "#pragma once\n" + line + "\n"}).size() == 1;
    };
    CHECK(bad("src/base/units.cc", "#include \"job/model.h\""));
    CHECK(bad("src/ops/linear.cc", "  #  include \"policy/ddp.h\""));
    CHECK(bad("src/report/text.cc", "#include \"cli/options.h\""));
    CHECK(bad("src/lower/program.cc", "#include \"input/config.h\""));
    CHECK(bad("src/input/config.cc", "#include \"ops/linear.h\""));
    CHECK(bad("src/cost/fold.cc", "#include \"helpers/fold.h\""));
    CHECK(bad("src/cost/fold.cc", "#include \"fold.h\""));
    CHECK(bad("src/fold.cc", "#include \"base/text.h\""));
    CHECK(bad("include/memplan/plan.h", "#include \"base/text.h\""));
    CHECK(bad("include/memplan/plan.h", "#include <nlohmann/json_fwd.hpp>"));
    CHECK(bad("include/memplan/plan.h", "#include <fmt/core.h>"));
    CHECK(bad("src/input/config.h", "#include <nlohmann/json.hpp>"));
  }

  TEST_CASE("arrows that point down are silent") {
    const auto good = [](std::string path, std::string line) {
      return check_includes({std::move(path), line + "\n"}).empty();
    };
    CHECK(good("src/cli/main.cc", "#include \"input/config.h\""));
    CHECK(good("src/cli/main.cc", "#include <CLI/CLI.hpp>"));
    CHECK(good("src/input/config.cc", "#include \"job/model.h\""));
    CHECK(good("src/input/config.h", "#include <nlohmann/json_fwd.hpp>"));
    CHECK(good("src/cost/fold.cc", "#include \"cost/fold.h\""));
    CHECK(good("src/cost/fold.cc", "#include \"memplan/units.h\""));
    CHECK(good("src/cost/fold.cc", "// #include \"cli/options.h\""));
    CHECK(good("include/memplan/plan.h", "#include <vector>"));
    CHECK(good("include/memplan/plan.h", "#include \"memplan/units.h\""));
  }

  TEST_CASE("long files, many public headers and paths of a machine are found") {
    CHECK(check_length({"src/a.cc", std::string(601, '\n')}).size() == 1);
    CHECK(check_length({"src/a.cc", std::string(600, '\n')}).empty());
    CHECK(check_public_count(std::vector<File>(11, {"include/memplan/a.h", ""})).size() == 1);
    CHECK(check_public_count(std::vector<File>(10, {"include/memplan/a.h", ""})).empty());
    CHECK(check_words({"a", std::string("see /wo") + "rk/main"}).size() == 1);
    CHECK(check_words({"a", std::string("see sha") + "red/design.md"}).size() == 1);
    CHECK(check_words({"a", "cublas/workspace, frame/works, /usr/share/doc"}).empty());
  }
}

}  // namespace
