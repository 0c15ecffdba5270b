#include "input/shell_script.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>

#include "input/shell_arithmetic.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr size_t kMostExpanded = size_t{4} << 20;
constexpr int kDeepest = 32;  // of ${X:-${Y:-…}}, bash -c in bash -c

// A character of an expanded word, the line it was written in, and why it is not known (0: it is).
struct Char {
  char c;
  int line;
  int unknown;
};
using Text = std::vector<Char>;

struct Variable {
  std::vector<Text> items;  // one, but for an array
  bool exported = false;
  std::vector<int> blocks;  // in which it was set
  int line = 0;
};

struct State {
  const std::string& file;
  const std::function<void(const ShellCommand&)>& run;
  std::map<std::string, Variable, std::less<>> variables = {};
  std::vector<std::string> reasons = {""};
  size_t expanded = 0;
  int block_ids = 0;
};

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string plain(const Text& text) {
  std::string out;
  for (const Char& c : text) out += c.c;
  return out;
}

class Reader {
 public:
  Reader(std::string_view text, int line, bool script, State& state, int depth)
      : text_(text), line_(line), script_(script), state_(state), depth_(depth) {
    if (depth > kDeepest) throw error("is nested too deeply", "write the values out");
  }

  void commands(const std::vector<int>& outer) {
    blocks_.clear();
    for (int id : outer) blocks_.push_back({"", id});
    while (at_ < text_.size()) step();
    end_command();
  }

  std::vector<Text> words() {
    std::vector<Text> out;
    while (at_ < text_.size()) {
      if (is_blank(peek()) || peek() == '\n') {
        next();
      } else if (peek() == '#') {
        skip_line();
      } else {
        for (Text& field : word(true)) out.push_back(std::move(field));
      }
    }
    return out;
  }

  // All of the text as one value, quotes and variables resolved.
  Text value_of_all() {
    Text out;
    while (at_ < text_.size()) {
      if (is_blank(peek()) || peek() == '\n')
        put(out, {next(), line_, 0});
      else
        join(word(false), out);
    }
    return out;
  }

 private:
  struct Block {
    std::string kind;
    int id;
  };

  Error error(std::string problem, std::string hint) const {
    return Error(ErrorKind::bad_input, state_.file + ":" + std::to_string(line_),
                 std::move(problem), std::move(hint));
  }

  char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  char next() {
    const char c = text_[at_++];
    if (c == '\n') ++line_;
    return c;
  }
  void skip(size_t n) {
    for (; n > 0 && at_ < text_.size(); --n) next();
  }
  bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  void skip_line() {
    while (at_ < text_.size() && peek() != '\n') next();
  }
  bool ends_word(char c) const {
    if (is_blank(c) || c == '\n') return true;
    return script_ &&
           (c == ';' || c == '&' || c == '|' || c == '(' || c == ')' || c == '<' || c == '>');
  }

  int reason(std::string text) {
    state_.reasons.push_back(std::move(text));
    return static_cast<int>(state_.reasons.size()) - 1;
  }
  void put(Text& out, Char c) {
    if (++state_.expanded > kMostExpanded)
      throw error("the script's variables expand to more than 4 MiB", "write the values out");
    out.push_back(c);
  }
  void put_unknown(Text& out, std::string_view raw, std::string why) {
    const int id = reason(std::move(why));
    for (char c : raw) put(out, {c, line_, id});
  }
  static void join(const std::vector<Text>& fields, Text& out) {
    bool first = true;
    for (const Text& field : fields) {
      if (!first) out.push_back({' ', field.empty() ? 0 : field.front().line, 0});
      first = false;
      out.insert(out.end(), field.begin(), field.end());
    }
  }

  // ---- words ----

  // Fields of a word under way.
  struct Fields {
    std::vector<Text> done;
    Text current;
    bool open = false;  // something, be it empty quotes, belongs to `current`
    void close() {
      if (open) done.push_back(std::move(current));
      current.clear();
      open = false;
    }
  };

  std::vector<Text> word(bool split) {
    Fields fields;
    while (at_ < text_.size() && !ends_word(peek())) {
      const char c = peek();
      if (c == '\\') {
        escaped(fields);
      } else if (c == '\'') {
        single_quotes(fields);
      } else if (c == '"') {
        double_quotes(fields);
      } else if (script_ && (c == '$' || c == '`')) {
        expansion(fields, split, false);
      } else {
        put(fields.current, {c, line_, 0});
        fields.open = true;
        next();
      }
    }
    fields.close();
    return std::move(fields.done);
  }

  void escaped(Fields& fields) {
    next();
    if (at_ >= text_.size()) return;
    if (peek() == '\r' && peek(1) == '\n') next();
    const int line = line_;
    const char c = next();
    if (c == '\n') return;
    put(fields.current, {c, line, 0});
    fields.open = true;
  }
  void single_quotes(Fields& fields) {
    const int begun = line_;
    next();
    fields.open = true;
    while (at_ < text_.size() && peek() != '\'') {
      const int line = line_;
      put(fields.current, {next(), line, 0});
    }
    close_quote(begun, "'");
  }
  void close_quote(int begun, const char* quote) {
    if (at_ >= text_.size()) {
      line_ = begun;
      throw error(std::string("the quote ") + quote + " is not closed", "close it");
    }
    next();
  }
  void double_quotes(Fields& fields) {
    const int begun = line_;
    const bool was_open = fields.open;
    const size_t done = fields.done.size();
    next();
    fields.open = true;
    const size_t from = at_;
    while (at_ < text_.size() && peek() != '"') {
      const char c = peek();
      if (c == '\\' && (peek(1) == '"' || peek(1) == '\\' || peek(1) == '$' || peek(1) == '`')) {
        next();
        put(fields.current, {next(), line_, 0});
      } else if (c == '\\' && peek(1) == '\n') {
        next();
        next();
      } else if (script_ && (c == '$' || c == '`')) {
        expansion(fields, false, true);
      } else {
        const int line = line_;
        put(fields.current, {next(), line, 0});
      }
    }
    const std::string_view inner = text_.substr(from, at_ - from);
    close_quote(begun, "\"");
    // "$@" and "${A[@]}" of nothing are no word.
    const bool list = inner == "$@" || (inner.starts_with("${") && inner.ends_with("[@]}"));
    if (list && fields.current.empty() && fields.done.size() == done) fields.open = was_open;
  }

  // ---- expansions ----

  // The text up to the closing bracket that matches, which is eaten. `deep`: brackets open by now.
  std::string_view bracketed(char open, char close, int deep = 1) {
    const int begun = line_;
    const size_t from = at_;
    const auto brackets = static_cast<size_t>(deep);
    while (at_ < text_.size()) {
      const char c = next();
      if (c == open) ++deep;
      if (c == close && --deep == 0) return text_.substr(from, at_ - from - brackets);
    }
    line_ = begun;
    throw error(std::string("the bracket ") + open + " is not closed", "close it");
  }

  // Adds what a variable or a substitution stands for.
  void add(Fields& fields, const std::vector<Text>& items, bool split, bool quoted, bool all) {
    bool first = true;
    for (const Text& item : items) {
      if (!first && (split || (quoted && all))) fields.close();
      if (!first && !split && !(quoted && all)) put(fields.current, {' ', line_, 0});
      first = false;
      if (!split) {
        for (const Char& c : item) put(fields.current, c);
        fields.open = fields.open || !item.empty() || (quoted && all);
        continue;
      }
      for (const Char& c : item) {
        if (c.unknown == 0 && (is_blank(c.c) || c.c == '\n')) {
          fields.close();
        } else {
          put(fields.current, c);
          fields.open = true;
        }
      }
    }
  }
  void add_unknown(Fields& fields, std::string_view raw, std::string why) {
    put_unknown(fields.current, raw, std::move(why));
    fields.open = true;
  }

  void expansion(Fields& fields, bool split, bool quoted) {
    const size_t from = at_;
    if (next() == '`') {
      const size_t end = text_.find('`', at_);
      if (end == text_.npos) throw error("the quote ` is not closed", "close it");
      while (at_ <= end) next();
      return add_unknown(fields, text_.substr(from, at_ - from),
                         "what the command " + std::string(text_.substr(from, at_ - from)) +
                             " prints is not known");
    }
    if (starts("((")) {
      skip(2);
      const std::string_view inner = bracketed('(', ')', 2);
      return arithmetic(fields, inner, text_.substr(from, at_ - from));
    }
    if (peek() == '(') {
      next();
      bracketed('(', ')');
      const std::string_view raw = text_.substr(from, at_ - from);
      return add_unknown(fields, raw,
                         "what the command " + std::string(raw) + " prints is not known");
    }
    if (peek() == '{') {
      next();
      const int line = line_;
      const std::string_view inner = bracketed('{', '}');
      return braces(fields, inner, text_.substr(from, at_ - from), line, split, quoted);
    }
    if (peek() == '@' || peek() == '*') {  // the script's own arguments: none
      next();
      return;
    }
    if (!is_name(peek())) {
      put(fields.current, {'$', line_, 0});
      fields.open = true;
      return;
    }
    if (is_digit(peek()))
      next();
    else
      while (is_name(peek())) next();
    const std::string_view raw = text_.substr(from, at_ - from);
    variable(fields, raw.substr(1), "", raw, split, quoted);
  }

  void arithmetic(Fields& fields, std::string_view inner, std::string_view raw) {
    std::string why = "the value of " + std::string(raw) + " is not known";
    const auto number = shell_arithmetic(inner, [&](std::string_view name) {
      const Variable* found = visible(name);
      if (found == nullptr || found->items.size() != 1) return std::optional<std::string>();
      for (const Char& c : found->items.front())
        if (c.unknown != 0) return std::optional<std::string>();
      return std::optional<std::string>(plain(found->items.front()));
    });
    if (!number) return add_unknown(fields, raw, std::move(why));
    for (char c : std::to_string(*number)) put(fields.current, {c, line_, 0});
    fields.open = true;
  }

  const Variable* visible(std::string_view name) const {
    const auto found = state_.variables.find(name);
    if (found == state_.variables.end()) return nullptr;
    const std::vector<int>& set_in = found->second.blocks;
    if (set_in.size() > blocks_.size()) return nullptr;
    for (size_t i = 0; i < set_in.size(); ++i)
      if (set_in[i] != blocks_[i].id) return nullptr;
    return &found->second;
  }
  std::string why_not(std::string_view name) const {
    const std::string dollar = "$" + std::string(name);
    if (is_digit(name.front())) return dollar + " is given when the script is called";
    const auto found = state_.variables.find(name);
    if (found == state_.variables.end()) return dollar + " is not set in this script";
    return dollar + " is set under a condition or in a function (line " +
           std::to_string(found->second.line) + ")";
  }

  // `index`: what stands in [ ]; empty: nothing.
  void variable(Fields& fields, std::string_view name, std::string_view index, std::string_view raw,
                bool split, bool quoted) {
    const Variable* found = visible(name);
    if (found == nullptr) return add_unknown(fields, raw, why_not(name));
    const bool all = index == "@" || index == "*";
    if (all) return add(fields, found->items, split, quoted, index == "@");
    size_t number = 0;
    if (!index.empty()) {
      if (index.size() > 6 || !std::ranges::all_of(index, is_digit))
        return add_unknown(fields, raw, "the element " + std::string(raw) + " is not known");
      number = std::stoul(std::string(index));
    }
    if (number < found->items.size()) add(fields, {found->items[number]}, split, quoted, false);
  }

  // ${…}
  void braces(Fields& fields, std::string_view inner, std::string_view raw, int line, bool split,
              bool quoted) {
    const auto not_evaluated = [&] {
      add_unknown(fields, raw, "the expansion " + std::string(raw) + " is not evaluated");
    };
    const bool length = inner.starts_with('#') && inner.size() > 1;
    if (length) inner.remove_prefix(1);
    size_t end = 0;
    while (end < inner.size() && is_name(inner[end])) ++end;
    const std::string_view name = inner.substr(0, end);
    std::string_view rest = inner.substr(end);
    if (name.empty()) {
      if (!length && (inner == "@" || inner == "*")) return;
      return not_evaluated();
    }
    std::string_view index;
    if (rest.starts_with('[')) {
      const size_t close = rest.find(']');
      if (close == rest.npos) return not_evaluated();
      index = rest.substr(1, close - 1);
      rest = rest.substr(close + 1);
    }
    if (length) {
      const Variable* found = visible(name);
      if (!rest.empty() || found == nullptr || (index != "@" && index != "*"))
        return not_evaluated();
      for (char c : std::to_string(found->items.size())) put(fields.current, {c, line_, 0});
      fields.open = true;
      return;
    }
    if (rest.empty()) return variable(fields, name, index, raw, split, quoted);
    const bool colon = rest.starts_with(':');
    if (colon) rest.remove_prefix(1);
    const char operation = rest.empty() ? '\0' : rest.front();
    if (operation != '-' && operation != '=' && operation != '+' && operation != '?')
      return not_evaluated();
    const bool exists = state_.variables.contains(name);
    const Variable* found = visible(name);
    if (exists && found == nullptr) return add_unknown(fields, raw, why_not(name));
    const bool empty =
        found == nullptr || (colon && (found->items.empty() ||
                                       (found->items.size() == 1 && found->items.front().empty())));
    if (operation == '?' || (operation != '+' && !empty))
      return variable(fields, name, index, raw, split, quoted);
    if (operation == '+' && empty) return;
    Reader other(rest.substr(1), line, true, state_, depth_ + 1);
    other.blocks_ = blocks_;
    Text value = other.value_of_all();
    if (operation == '=') set(name, {value}, line);
    add(fields, {std::move(value)}, split, quoted, false);
  }

  // ---- commands ----

  void set(std::string_view name, std::vector<Text> items, int line) {
    Variable& variable = state_.variables[std::string(name)];
    variable.items = std::move(items);
    variable.line = line;
    variable.blocks.clear();
    for (const Block& block : blocks_) variable.blocks.push_back(block.id);
  }

  // NAME= or NAME+= at this place; its length without the '='.
  std::optional<size_t> assignment_here() const {
    size_t n = 0;
    if (is_digit(peek())) return {};
    while (is_name(peek(n))) ++n;
    if (n == 0) return {};
    if (peek(n) == '=') return n;
    if (peek(n) == '+' && peek(n + 1) == '=') return n + 1;
    return {};
  }

  bool declares() const {
    static constexpr std::string_view kWords[] = {"export", "declare", "local", "readonly",
                                                  "typeset"};
    return !command_.empty() &&
           std::ranges::find(kWords, plain(command_.front())) != std::end(kWords);
  }

  void assignment(size_t length) {
    const int line = line_;
    std::string name(text_.substr(at_, length));
    const bool append = name.back() == '+';
    if (append) name.pop_back();
    skip(length + 1);
    std::vector<Text> items;
    const bool array = peek() == '(';
    if (array) {
      next();
      items = array_items(line);
    } else {
      Text value;
      join(word(false), value);
      items.push_back(std::move(value));
    }
    const bool exported = declares() && plain(command_.front()) == "export";
    if (append) {
      if (const Variable* before = visible(name)) {
        std::vector<Text> all = before->items;
        if (array) {
          all.insert(all.end(), items.begin(), items.end());
        } else if (all.empty()) {
          all = items;
        } else {
          all.front().insert(all.front().end(), items.front().begin(), items.front().end());
        }
        items = std::move(all);
      } else if (state_.variables.contains(name)) {
        Text hole;
        put_unknown(hole, "$" + name, why_not(name));
        items.insert(items.begin(), std::move(hole));
      }
    }
    if (command_.empty() && !array && !append) prefix_.push_back({name, items.front()});
    set(name, std::move(items), line);
    if (exported) state_.variables[name].exported = true;
  }

  std::vector<Text> array_items(int begun) {
    std::vector<Text> items;
    while (true) {
      if (at_ >= text_.size()) {
        line_ = begun;
        throw error("the array's ( is not closed", "close it");
      }
      const char c = peek();
      if (c == ')') {
        next();
        return items;
      }
      if (is_blank(c) || c == '\n') {
        next();
      } else if (c == '#') {
        skip_line();
      } else if (ends_word(c)) {
        throw error(std::string("unexpected ") + c + " in an array", "put it in quotes");
      } else {
        for (Text& field : word(true)) items.push_back(std::move(field));
      }
    }
  }

  void step() {
    const char c = peek();
    if (is_blank(c)) {
      next();
    } else if (c == '\\' && (peek(1) == '\n' || (peek(1) == '\r' && peek(2) == '\n'))) {
      while (peek() != '\n') next();
      next();
    } else if (c == '#') {
      skip_line();
    } else if (c == '\n') {
      end_command();
      next();
      skip_here_documents();
    } else if (c == '<' || c == '>' || (c == '&' && peek(1) == '>')) {
      redirection();
    } else if (c == ';' || c == '&' || c == '|') {
      end_command();
      next();
    } else if (c == '(') {
      open_bracket();
    } else if (c == ')') {
      close_bracket();
    } else {
      command_word();
    }
  }

  void redirection() {
    if (starts("<<") && !starts("<<<")) {
      skip(2);
      if (peek() == '-') next();
      while (is_blank(peek())) next();
      Text end;
      join(word(false), end);
      here_documents_.push_back(plain(end));
      return;
    }
    while (peek() == '<' || peek() == '>' || peek() == '&') next();
    if (peek() == '(') {  // <(…)
      next();
      bracketed('(', ')');
      return;
    }
    while (is_blank(peek())) next();
    word(false);
  }
  void skip_here_documents() {
    for (const std::string& end : here_documents_) {
      while (at_ < text_.size()) {
        const size_t from = at_;
        skip_line();
        std::string_view line = text_.substr(from, at_ - from);
        if (at_ < text_.size()) next();
        while (line.starts_with('\t')) line.remove_prefix(1);
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line == end) break;
      }
    }
    here_documents_.clear();
  }

  void open_block(std::string kind) { blocks_.push_back({std::move(kind), ++state_.block_ids}); }
  void close_block() {
    if (!blocks_.empty()) blocks_.pop_back();
  }

  void open_bracket() {
    next();
    if (peek() == ')' && command_.size() == 1) {  // name() {
      next();
      command_.clear();
      return;
    }
    if (peek() == '(') {  // ((…))
      next();
      bracketed('(', ')', 2);
      return;
    }
    if (!command_.empty())
      throw error("unexpected ( behind a word", "put the word that holds it in quotes");
    open_block("(");
  }
  void close_bracket() {
    if (!blocks_.empty() && blocks_.back().kind == "case") {  // pattern)
      command_.clear();
      blocks_.back().id = ++state_.block_ids;
      next();
      return;
    }
    end_command();
    if (!blocks_.empty() && blocks_.back().kind == "(") close_block();
    next();
  }

  void command_word() {
    if (command_.empty() || declares()) {
      if (const auto length = assignment_here()) return assignment(*length);
    }
    const size_t from = at_;
    std::vector<Text> fields = word(true);
    const std::string_view raw = text_.substr(from, at_ - from);
    if ((peek() == '<' || peek() == '>') && !raw.empty() && std::ranges::all_of(raw, is_digit))
      return;  // 2>
    if (command_.empty() && keyword(raw)) return;
    for (Text& field : fields) command_.push_back(std::move(field));
  }

  // Reserved words. Returns whether the word is eaten.
  bool keyword(std::string_view raw) {
    if (raw == "if" || raw == "while" || raw == "until") {
      open_block(std::string(raw));
    } else if (raw == "for" || raw == "select") {
      open_block("for");
      while (is_blank(peek())) next();
      const size_t from = at_;
      while (is_name(peek())) next();
      if (at_ > from) {
        Text loop;
        put_unknown(loop, "$" + std::string(text_.substr(from, at_ - from)),
                    "a loop's variable has many values");
        set(text_.substr(from, at_ - from), {std::move(loop)}, line_);
        skip_line_or_list();
      }
    } else if (raw == "case") {
      open_block("case");
      while (at_ < text_.size() && !starts(" in") && !starts("\tin")) next();
      skip(3);
    } else if (raw == "{") {
      open_block("{");
    } else if (raw == "elif" || raw == "else") {
      if (!blocks_.empty()) blocks_.back().id = ++state_.block_ids;
    } else if (raw == "fi" || raw == "done" || raw == "esac" || raw == "}") {
      close_block();
    } else if (raw == "[[") {
      const size_t end = text_.find("]]", at_);
      const size_t stop = end == text_.npos ? text_.size() : end + 2;
      while (at_ < stop) next();
    } else {
      return raw == "then" || raw == "do" || raw == "!" || raw == "time" || raw == "function";
    }
    return true;
  }
  void skip_line_or_list() {
    while (at_ < text_.size() && peek() != '\n' && peek() != ';') next();
  }

  ShellWord shell_word(const Text& text) const {
    ShellWord out{plain(text), text.empty() ? line_ : text.front().line, {}};
    for (const Char& c : text)
      if (c.unknown != 0 && out.unknown.empty())
        out.unknown = state_.reasons[static_cast<size_t>(c.unknown)];
    return out;
  }

  void end_command() {
    std::vector<Text> command = std::move(command_);
    std::vector<std::pair<std::string, Text>> prefix = std::move(prefix_);
    command_.clear();
    prefix_.clear();
    if (command.empty()) return;
    const std::string first = plain(command.front());
    if (first == "export")
      for (size_t i = 1; i < command.size(); ++i) {
        const auto found = state_.variables.find(plain(command[i]));
        if (found != state_.variables.end()) found->second.exported = true;
      }
    if (first == "unset")
      for (size_t i = 1; i < command.size(); ++i) state_.variables.erase(plain(command[i]));
    for (size_t i = 0; i + 2 < command.size(); ++i) {
      const std::string shell = plain(command[i]), option = plain(command[i + 1]);
      if ((shell == "bash" || shell == "sh" || shell.ends_with("/bash")) &&
          option.starts_with('-') && option.ends_with('c'))
        return nested(command[i + 2]);
    }
    run(command, prefix);
  }

  void nested(const Text& text) {
    std::vector<int> outer;
    for (const Block& block : blocks_) outer.push_back(block.id);
    const std::string inner = plain(text);
    if (std::ranges::any_of(text, [](const Char& c) { return c.unknown != 0; })) return;
    Reader(inner, text.empty() ? line_ : text.front().line, true, state_, depth_ + 1)
        .commands(outer);
  }

  void run(const std::vector<Text>& command, const std::vector<std::pair<std::string, Text>>& set) {
    ShellCommand out;
    for (const Text& text : command) out.words.push_back(shell_word(text));
    if (std::ranges::none_of(out.words, [](const ShellWord& w) { return w.text.ends_with(".py"); }))
      return state_.run(out);
    for (const auto& [name, variable] : state_.variables)
      if (variable.exported && variable.items.size() == 1)
        out.environment.push_back({name, shell_word(variable.items.front())});
    for (const auto& [name, value] : set) out.environment.push_back({name, shell_word(value)});
    state_.run(out);
  }

  std::string_view text_;
  size_t at_ = 0;
  int line_;
  bool script_;
  State& state_;
  int depth_;
  std::vector<Text> command_;
  std::vector<std::pair<std::string, Text>> prefix_;  // NAME=value in front of the command
  std::vector<Block> blocks_;
  std::vector<std::string> here_documents_;
};

}  // namespace

void read_shell_script(std::string_view text, const std::string& file,
                       const std::function<void(const ShellCommand&)>& run) {
  State state{file, run};
  Reader(text, 1, true, state, 0).commands({});
}

std::vector<ShellWord> read_argument_words(std::string_view text, const std::string& file) {
  const std::function<void(const ShellCommand&)> nothing = [](const ShellCommand&) {};
  State state{file, nothing};
  std::vector<ShellWord> out;
  for (const Text& word : Reader(text, 1, false, state, 0).words())
    out.push_back({plain(word), word.empty() ? 1 : word.front().line, {}});
  return out;
}

}  // namespace memplan
