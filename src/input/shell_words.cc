#include "input/shell_words.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "input/shell_arithmetic.h"

namespace memplan {
namespace {

constexpr size_t kMostExpanded = size_t{4} << 20;
constexpr int kDeepest = 32;  // of ${X:-${Y:-…}}, bash -c in bash -c

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::string plain(const ShellText& text) {
  std::string out;
  for (const ShellChar& c : text) out += c.c;
  return out;
}

void ShellWords::Fields::close() {
  if (open) done.push_back(std::move(current));
  current.clear();
  open = false;
}

ShellWords::ShellWords(std::string_view text, int line, bool script, ShellState& state, int depth)
    : text_(text), line_(line), script_(script), state_(state), depth_(depth) {
  if (depth > kDeepest) throw error("is nested too deeply", "write the values out");
}

Error ShellWords::error(std::string problem, std::string hint) const {
  return Error(ErrorKind::bad_input, state_.file + ":" + std::to_string(line_), std::move(problem),
               std::move(hint));
}

char ShellWords::next() {
  const char c = text_[at_++];
  if (c == '\n') ++line_;
  return c;
}
void ShellWords::skip(size_t n) {
  for (; n > 0 && at_ < text_.size(); --n) next();
}
void ShellWords::skip_line() {
  while (at_ < text_.size() && peek() != '\n') next();
}
bool ShellWords::ends_word(char c) const {
  if (is_blank(c) || c == '\n') return true;
  return script_ &&
         (c == ';' || c == '&' || c == '|' || c == '(' || c == ')' || c == '<' || c == '>');
}

int ShellWords::reason(std::string text) {
  state_.reasons.push_back(std::move(text));
  return static_cast<int>(state_.reasons.size()) - 1;
}
void ShellWords::put(ShellText& out, ShellChar c) {
  if (++state_.expanded > kMostExpanded)
    throw error("the script's variables expand to more than 4 MiB", "write the values out");
  out.push_back(c);
}
void ShellWords::put_unknown(ShellText& out, std::string_view raw, std::string why) {
  const int id = reason(std::move(why));
  for (char c : raw) put(out, {c, line_, id});
}
void ShellWords::join(const std::vector<ShellText>& fields, ShellText& out) {
  bool first = true;
  for (const ShellText& field : fields) {
    if (!first) out.push_back({' ', field.empty() ? 0 : field.front().line, 0});
    first = false;
    out.insert(out.end(), field.begin(), field.end());
  }
}

// ---- words ----

std::vector<ShellText> ShellWords::word(bool split) {
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

void ShellWords::escaped(Fields& fields) {
  next();
  if (at_ >= text_.size()) return;
  if (peek() == '\r' && peek(1) == '\n') next();
  const int line = line_;
  const char c = next();
  if (c == '\n') return;
  put(fields.current, {c, line, 0});
  fields.open = true;
}
void ShellWords::single_quotes(Fields& fields) {
  const int begun = line_;
  next();
  fields.open = true;
  while (at_ < text_.size() && peek() != '\'') {
    const int line = line_;
    put(fields.current, {next(), line, 0});
  }
  close_quote(begun, "'");
}
void ShellWords::close_quote(int begun, const char* quote) {
  if (at_ >= text_.size()) {
    line_ = begun;
    throw error(std::string("the quote ") + quote + " is not closed", "close it");
  }
  next();
}
void ShellWords::double_quotes(Fields& fields) {
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
std::string_view ShellWords::bracketed(char open, char close, int deep) {
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
void ShellWords::add(Fields& fields, const std::vector<ShellText>& items, bool split, bool quoted,
                     bool all) {
  bool first = true;
  for (const ShellText& item : items) {
    if (!first && (split || (quoted && all))) fields.close();
    if (!first && !split && !(quoted && all)) put(fields.current, {' ', line_, 0});
    first = false;
    if (!split) {
      for (const ShellChar& c : item) put(fields.current, c);
      fields.open = fields.open || !item.empty() || (quoted && all);
      continue;
    }
    for (const ShellChar& c : item) {
      if (c.unknown == 0 && (is_blank(c.c) || c.c == '\n')) {
        fields.close();
      } else {
        put(fields.current, c);
        fields.open = true;
      }
    }
  }
}
void ShellWords::add_unknown(Fields& fields, std::string_view raw, std::string why) {
  put_unknown(fields.current, raw, std::move(why));
  fields.open = true;
}

void ShellWords::expansion(Fields& fields, bool split, bool quoted) {
  const size_t from = at_;
  if (next() == '`') {
    const size_t end = text_.find('`', at_);
    if (end == text_.npos) throw error("the quote ` is not closed", "close it");
    while (at_ <= end) next();
    return add_unknown(
        fields, text_.substr(from, at_ - from),
        "what the command " + std::string(text_.substr(from, at_ - from)) + " prints is not known");
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

void ShellWords::arithmetic(Fields& fields, std::string_view inner, std::string_view raw) {
  std::string why = "the value of " + std::string(raw) + " is not known";
  const auto number = shell_arithmetic(inner, [&](std::string_view name) {
    const ShellVariable* found = visible(name);
    if (found == nullptr || found->items.size() != 1) return std::optional<std::string>();
    for (const ShellChar& c : found->items.front())
      if (c.unknown != 0) return std::optional<std::string>();
    return std::optional<std::string>(plain(found->items.front()));
  });
  if (!number) return add_unknown(fields, raw, std::move(why));
  for (char c : std::to_string(*number)) put(fields.current, {c, line_, 0});
  fields.open = true;
}

const ShellVariable* ShellWords::visible(std::string_view name) const {
  const auto found = state_.variables.find(name);
  if (found == state_.variables.end()) return nullptr;
  const std::vector<int>& set_in = found->second.blocks;
  if (set_in.size() > blocks_.size()) return nullptr;
  for (size_t i = 0; i < set_in.size(); ++i)
    if (set_in[i] != blocks_[i].id) return nullptr;
  return &found->second;
}
std::string ShellWords::why_not(std::string_view name) const {
  const std::string dollar = "$" + std::string(name);
  if (is_digit(name.front())) return dollar + " is given when the script is called";
  const auto found = state_.variables.find(name);
  if (found == state_.variables.end()) return dollar + " is not set in this script";
  return dollar + " is set under a condition or in a function (line " +
         std::to_string(found->second.line) + ")";
}

// `index`: what stands in [ ]; empty: nothing.
void ShellWords::variable(Fields& fields, std::string_view name, std::string_view index,
                          std::string_view raw, bool split, bool quoted) {
  const ShellVariable* found = visible(name);
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
void ShellWords::braces(Fields& fields, std::string_view inner, std::string_view raw, int line,
                        bool split, bool quoted) {
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
    const ShellVariable* found = visible(name);
    if (!rest.empty() || found == nullptr || (index != "@" && index != "*")) return not_evaluated();
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
  const ShellVariable* found = visible(name);
  if (exists && found == nullptr) return add_unknown(fields, raw, why_not(name));
  const bool empty =
      found == nullptr || (colon && (found->items.empty() ||
                                     (found->items.size() == 1 && found->items.front().empty())));
  if (operation == '?' || (operation != '+' && !empty))
    return variable(fields, name, index, raw, split, quoted);
  if (operation == '+' && empty) return;
  ShellWords other(rest.substr(1), line, true, state_, depth_ + 1);
  other.blocks_ = blocks_;
  ShellText value = other.value_of_all();
  if (operation == '=') set(name, {value}, line);
  add(fields, {std::move(value)}, split, quoted, false);
}

void ShellWords::set(std::string_view name, std::vector<ShellText> items, int line) {
  ShellVariable& variable = state_.variables[std::string(name)];
  variable.items = std::move(items);
  variable.line = line;
  variable.blocks.clear();
  for (const ShellBlock& block : blocks_) variable.blocks.push_back(block.id);
}

std::vector<ShellText> ShellWords::words() {
  std::vector<ShellText> out;
  while (at_ < text_.size()) {
    if (is_blank(peek()) || peek() == '\n') {
      next();
    } else if (peek() == '#') {
      skip_line();
    } else {
      for (ShellText& field : word(true)) out.push_back(std::move(field));
    }
  }
  return out;
}

// All of the text as one value, quotes and variables resolved.
ShellText ShellWords::value_of_all() {
  ShellText out;
  while (at_ < text_.size()) {
    if (is_blank(peek()) || peek() == '\n')
      put(out, {next(), line_, 0});
    else
      join(word(false), out);
  }
  return out;
}

}  // namespace memplan
