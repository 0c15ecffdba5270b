#include "cli/options.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <array>

#include "base/text.h"
#include "memplan/error.h"
#include "report/table.h"

namespace memplan {
namespace {

constexpr std::array<OptionRow, 4> kCommon{{
    {"--json", "", "one JSON document on stdout"},
    {"--output", "FILE", "write the result to FILE instead of stdout"},
    {"--color", "WHEN", "auto, always, never; NO_COLOR is honoured (auto)"},
    {"--quiet", "", "no talk on stderr but errors"},
}};

constexpr std::string_view kBehind = "--";

Error bad(std::string where, std::string problem, std::string hint = {}) {
  return Error(ErrorKind::bad_input, std::move(where), std::move(problem), std::move(hint));
}

std::vector<std::string_view> names_of_rows(std::span<const OptionRow> rows) {
  std::vector<std::string_view> names = {"--help"};
  for (const OptionRow& row : rows) names.push_back(row.name);
  return names;
}

// A word that was meant as an option and is none.
Error unknown(const std::string& word, std::span<const OptionRow> rows) {
  const std::string name = word.substr(0, word.find('='));
  std::vector<std::string_view> names = names_of_rows(rows);
  std::string near = nearest_name(name, names);
  if (near.empty()) {  // "--batch" is the end of "--micro-batch"
    const std::string tail = name.substr(std::min(name.find_first_not_of('-'), name.size()));
    for (std::string_view candidate : names)
      if (!tail.empty() && near.empty() && candidate.ends_with("-" + tail)) near = candidate;
  }
  return bad("", "unknown option " + printable(name),
             near.empty() ? "--help lists the options" : "did you mean " + near + "?");
}

}  // namespace

const std::string* Options::find(std::string_view name) const {
  for (const auto& [option, value] : given)
    if (option == name) return &value;
  return nullptr;
}

std::vector<std::string> Options::all(std::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [option, value] : given)
    if (option == name) values.push_back(value);
  return values;
}

std::span<const OptionRow> common_options() { return kCommon; }

Options parse_options(const std::vector<std::string>& words, std::span<const OptionRow> rows,
                      size_t most_positional) {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  CLI::Option* help = app.add_flag("-h,--help");
  std::vector<CLI::Option*> defined;
  for (const OptionRow& row : rows) {
    const std::string name(row.name);
    if (name == kBehind) {
      defined.push_back(nullptr);
      continue;
    }
    CLI::Option* option = row.value.empty() ? app.add_flag(name) : app.add_option(name);
    if (!row.value.empty()) option->type_size(1)->expected(1);
    defined.push_back(option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll));
  }

  const auto cut = std::ranges::find(words, kBehind);
  const bool takes_more = std::ranges::find(rows, kBehind, &OptionRow::name) != rows.end();
  if (cut != words.end() && !takes_more)
    throw bad("--", "nothing may stand behind -- here", "leave it away");
  try {
    app.parse(std::vector<std::string>(std::make_reverse_iterator(cut), words.rend()));
  } catch (const CLI::ArgumentMismatch& mismatch) {
    const std::string what = mismatch.what();
    const std::string name = what.substr(0, what.find(':'));
    throw bad(name, "its value is missing", "write " + name + " VALUE");
  } catch (const CLI::ParseError& error) {
    throw bad("", error.what(), "--help lists the options");
  }

  Options out;
  out.help = help->count() > 0;
  if (cut != words.end()) out.behind.assign(cut + 1, words.end());
  for (std::string& word : app.remaining()) {
    if (word.size() > 1 && word.front() == '-') throw unknown(word, rows);
    out.positional.push_back(std::move(word));
  }
  if (!out.help && out.positional.size() > most_positional)
    throw bad("", "unexpected word '" + printable(out.positional[most_positional]) + "'",
              "an option's value follows its name, and lists have no spaces: --tp 1,2,4");
  for (size_t i = 0; i < rows.size(); ++i) {
    if (defined[i] == nullptr) continue;
    const std::vector<std::string>& results = defined[i]->results();
    if (results.empty()) continue;
    if (rows[i].repeats) {
      for (const std::string& value : results) out.given.emplace_back(rows[i].name, value);
      continue;
    }
    if (results.size() > 1)
      throw bad(std::string(rows[i].name), "is given twice",
                rows[i].value.empty() ? "give it once" : "a list asks for several: 1,2,4");
    if (rows[i].value.empty() && results.front() == "false") continue;
    if (rows[i].value.empty() && results.front() != "true")
      throw bad(std::string(rows[i].name), "takes no value", "give it alone");
    out.given.emplace_back(rows[i].name, results.front());
  }
  return out;
}

std::string options_help(std::string_view heading, std::span<const OptionRow> rows) {
  Table table({Align::left, Align::left});
  for (const OptionRow& row : rows) {
    std::string name(row.name);
    if (!row.value.empty()) name += ' ' + std::string(row.value);
    table.add({{std::move(name)}, {std::string(row.help)}});
  }
  return std::string(heading) + "\n" + table.render(2, false);
}

}  // namespace memplan
