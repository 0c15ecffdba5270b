// Words of a bash script: quotes, variables and expansions.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "input/shell_script.h"
#include "memplan/error.h"

namespace memplan {

/// A character of an expanded word, the line it was written in, and why it is not known (an index
/// of ShellState::reasons; 0: it is).
struct ShellChar {
  char c;
  int line;
  int unknown;
};
using ShellText = std::vector<ShellChar>;

std::string plain(const ShellText& text);

struct ShellVariable {
  std::vector<ShellText> items;  ///< one, but for an array
  bool exported = false;
  std::vector<int> blocks;  ///< in which it was set
  int line = 0;
};

/// What all parts of a script share.
struct ShellState {
  const std::string& file;
  const std::function<void(const ShellCommand&)>& run;
  std::map<std::string, ShellVariable, std::less<>> variables = {};
  std::vector<std::string> reasons = {""};
  size_t expanded = 0;
  int block_ids = 0;
};

/// A condition, loop, function or subshell that the reader is in.
struct ShellBlock {
  std::string kind;  ///< "if", "case", "(", …; empty: of the text around
  int id;            ///< another in each branch
};

/// A place in a text, and the words that begin there. `script`: $ and metacharacters count.
class ShellWords {
 public:
  ShellWords(std::string_view text, int line, bool script, ShellState& state, int depth);

  std::vector<ShellText> words();
  /// All of the text as one value, quotes and variables resolved.
  ShellText value_of_all();

 protected:
  Error error(std::string problem, std::string hint) const;
  char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  char next();
  void skip(size_t n);
  void skip_line();
  bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  bool ends_word(char c) const;
  /// The text up to the closing bracket that matches, which is eaten. `deep`: brackets open by now.
  std::string_view bracketed(char open, char close, int deep = 1);

  /// The fields of the word here; `split`: what is not quoted is split at blanks.
  std::vector<ShellText> word(bool split);
  static void join(const std::vector<ShellText>& fields, ShellText& out);
  void put_unknown(ShellText& out, std::string_view raw, std::string why);

  const ShellVariable* visible(std::string_view name) const;
  std::string why_not(std::string_view name) const;
  void set(std::string_view name, std::vector<ShellText> items, int line);

  std::string_view text_;
  size_t at_ = 0;
  int line_;
  bool script_;
  ShellState& state_;
  int depth_;
  std::vector<ShellBlock> blocks_;

 private:
  /// Fields of a word under way.
  struct Fields {
    std::vector<ShellText> done;
    ShellText current;
    bool open = false;  // something, be it empty quotes, belongs to `current`
    void close();
  };

  int reason(std::string text);
  void put(ShellText& out, ShellChar c);
  void escaped(Fields& fields);
  void single_quotes(Fields& fields);
  void double_quotes(Fields& fields);
  void close_quote(int begun, const char* quote);
  void add(Fields& fields, const std::vector<ShellText>& items, bool split, bool quoted, bool all);
  void add_unknown(Fields& fields, std::string_view raw, std::string why);
  void expansion(Fields& fields, bool split, bool quoted);
  void arithmetic(Fields& fields, std::string_view inner, std::string_view raw);
  /// `index`: what stands in [ ]; empty: nothing.
  void variable(Fields& fields, std::string_view name, std::string_view index, std::string_view raw,
                bool split, bool quoted);
  /// ${…}
  void braces(Fields& fields, std::string_view inner, std::string_view raw, int line, bool split,
              bool quoted);
};

}  // namespace memplan
