// Words -> MegatronValues, as argparse reads them.
#include "base/text.h"
#include "input/megatron_values.h"
#include "memplan/error.h"

namespace memplan {
namespace {

[[noreturn]] void bad(const std::string& where, std::string problem, std::string hint) {
  throw Error(ErrorKind::bad_input, where, std::move(problem), std::move(hint));
}

// Megatron-LM has no argument of one dash, and no negative value that looks like one.
bool is_name(const MegatronWord& word) {
  return word.text.starts_with("--") && word.text.size() > 2;
}

std::string shown(const std::string& text) { return "'" + printable(text) + "'"; }

[[noreturn]] void stray(const MegatronWord& word) {
  if (!word.unknown.empty())
    bad(word.where, word.unknown, "write the arguments it stands for, or leave it away");
  if (word.text.starts_with('-') && word.text.size() > 1)
    bad(word.where, shown(word.text) + " is no argument of Megatron-LM", "arguments begin with --");
  bad(word.where, "unexpected word " + shown(word.text),
      "arguments begin with --, and a value stands behind its argument");
}

// Throws where the argument is refused; returns whether it is known and changes nothing.
bool passes(const MegatronArgument& argument) {
  if (is_harmless_megatron(argument.name)) return true;
  if (const MegatronGone* gone = find_megatron_gone(argument.name))
    bad(argument.where, argument.name + " is no longer an argument of Megatron-LM",
        "use " + std::string(gone->instead));
  const MegatronRefused* refused = find_megatron_refused(argument.name);
  if (refused == nullptr) return false;
  if (!refused->neutral.empty() && argument.values.size() == 1 &&
      argument.values.front().text == refused->neutral)
    return true;
  throw Error(ErrorKind::not_modelled, argument.where,
              argument.name + ": " + std::string(refused->reason), "leave it away");
}

void read(MegatronValues& values, const MegatronArgument& argument) {
  const MegatronRow* row = find_megatron_row(argument.name);
  if (row == nullptr) {
    if (passes(argument)) return;
    bad(argument.where, shown(argument.name) + " is no argument of Megatron-LM",
        name_hint(argument.name, megatron_names()));
  }
  const std::vector<MegatronWord>& given = argument.values;
  for (const MegatronWord& value : given)
    if (!value.unknown.empty())
      bad(value.where, argument.name + ": " + value.unknown, "write its value");
  if (row->takes == Takes::nothing && !given.empty())
    bad(given.front().where,
        argument.name + " takes no value, and " + shown(given.front().text) + " stands behind it",
        "give it alone");
  if (row->takes != Takes::nothing && given.empty())
    bad(argument.where, argument.name + ": its value is missing",
        "write " + argument.name + " VALUE");
  if (row->takes == Takes::one && given.size() > 1) stray(given[1]);
  row->set(values, argument);
}

}  // namespace

MegatronValues read_megatron_values(std::span<const MegatronWord> words) {
  MegatronValues values;
  for (size_t i = 0; i < words.size();) {
    const MegatronWord& word = words[i];
    // A text that is not known may be an argument's name as well.
    if (!is_name(word)) stray(word);
    MegatronArgument argument{word.text, word.where, {}};
    const size_t equals = word.text.find('=');
    if (equals != word.text.npos) {
      argument.name.resize(equals);
      argument.values.push_back({word.text.substr(equals + 1), word.where, word.unknown});
    } else if (!word.unknown.empty()) {
      stray(word);
    }
    for (++i; i < words.size() && !is_name(words[i]); ++i) {
      if (equals != word.text.npos) stray(words[i]);
      argument.values.push_back(words[i]);
    }
    read(values, argument);
  }
  return values;
}

}  // namespace memplan
