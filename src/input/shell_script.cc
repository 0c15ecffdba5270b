#include "input/shell_script.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "input/shell_words.h"

namespace memplan {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Commands : public ShellWords {
 public:
  using ShellWords::ShellWords;

  void read(const std::vector<int>& outer) {
    blocks_.clear();
    for (int id : outer) blocks_.push_back({"", id});
    while (at_ < text_.size()) step();
    end_command();
  }

 private:
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
    std::vector<ShellText> items;
    const bool array = peek() == '(';
    if (array) {
      next();
      items = array_items(line);
    } else {
      ShellText value;
      join(word(false), value);
      items.push_back(std::move(value));
    }
    const bool exported = declares() && plain(command_.front()) == "export";
    if (append) {
      if (const ShellVariable* before = visible(name)) {
        std::vector<ShellText> all = before->items;
        if (array) {
          all.insert(all.end(), items.begin(), items.end());
        } else if (all.empty()) {
          all = items;
        } else {
          all.front().insert(all.front().end(), items.front().begin(), items.front().end());
        }
        items = std::move(all);
      } else if (state_.variables.contains(name)) {
        ShellText hole;
        put_unknown(hole, "$" + name, why_not(name));
        items.insert(items.begin(), std::move(hole));
      }
    }
    if (command_.empty() && !array && !append) prefix_.push_back({name, items.front()});
    set(name, std::move(items), line);
    if (exported) state_.variables[name].exported = true;
  }

  std::vector<ShellText> array_items(int begun) {
    std::vector<ShellText> items;
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
        for (ShellText& field : word(true)) items.push_back(std::move(field));
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
      ShellText end;
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
    std::vector<ShellText> fields = word(true);
    const std::string_view raw = text_.substr(from, at_ - from);
    if ((peek() == '<' || peek() == '>') && !raw.empty() && std::ranges::all_of(raw, is_digit))
      return;  // 2>
    if (command_.empty() && keyword(raw)) return;
    for (ShellText& field : fields) command_.push_back(std::move(field));
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
        ShellText loop;
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

  ShellWord shell_word(const ShellText& text) const {
    ShellWord out{plain(text), text.empty() ? line_ : text.front().line, {}};
    for (const ShellChar& c : text)
      if (c.unknown != 0 && out.unknown.empty())
        out.unknown = state_.reasons[static_cast<size_t>(c.unknown)];
    return out;
  }

  void end_command() {
    std::vector<ShellText> command = std::move(command_);
    std::vector<std::pair<std::string, ShellText>> prefix = std::move(prefix_);
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
        return nested(command, i);
    }
    run(command, prefix);
  }

  // bash -c TEXT, with "bash" at `shell`; what stands before it launches the commands of TEXT.
  void nested(const std::vector<ShellText>& command, size_t shell) {
    const ShellText& text = command[shell + 2];
    if (std::ranges::any_of(text, [](const ShellChar& c) { return c.unknown != 0; })) return;
    std::vector<int> outer;
    for (const ShellBlock& block : blocks_) outer.push_back(block.id);
    const std::string inner = plain(text);
    Commands commands(inner, text.empty() ? line_ : text.front().line, true, state_, depth_ + 1);
    commands.around_ = around_;
    for (size_t i = 0; i < shell; ++i) commands.around_.push_back(shell_word(command[i]));
    commands.read(outer);
  }

  void run(const std::vector<ShellText>& command,
           const std::vector<std::pair<std::string, ShellText>>& set) {
    ShellCommand out{around_, {}};
    for (const ShellText& text : command) out.words.push_back(shell_word(text));
    if (std::ranges::none_of(out.words, [](const ShellWord& w) { return w.text.ends_with(".py"); }))
      return state_.run(out);
    for (const auto& [name, variable] : state_.variables)
      if (variable.exported && variable.items.size() == 1)
        out.environment.push_back({name, shell_word(variable.items.front())});
    for (const auto& [name, value] : set) out.environment.push_back({name, shell_word(value)});
    state_.run(out);
  }

  std::vector<ShellText> command_;
  std::vector<std::pair<std::string, ShellText>> prefix_;  // NAME=value in front of the command
  std::vector<std::string> here_documents_;
  std::vector<ShellWord> around_;  // what starts the shell that runs these commands
};

}  // namespace

void read_shell_script(std::string_view text, const std::string& file,
                       const std::function<void(const ShellCommand&)>& run) {
  ShellState state{file, run};
  Commands(text, 1, true, state, 0).read({});
}

std::vector<ShellWord> read_argument_words(std::string_view text, const std::string& file) {
  const std::function<void(const ShellCommand&)> nothing = [](const ShellCommand&) {};
  ShellState state{file, nothing};
  std::vector<ShellWord> out;
  for (const ShellText& word : ShellWords(text, 1, false, state, 0).words())
    out.push_back({plain(word), word.empty() ? 1 : word.front().line, {}});
  return out;
}

}  // namespace memplan
