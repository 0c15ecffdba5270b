#include "input/megatron_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

#include "base/text.h"
#include "input/shell_script.h"
#include "input/text_file.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr std::string_view kForms =
    "give a file of arguments, a launch script, or JSON such as "
    "{\"--num-layers\": 32, \"--bf16\": true}";

Error bad(std::string where, std::string problem, std::string hint) {
  return Error(ErrorKind::bad_input, std::move(where), std::move(problem), std::move(hint));
}

MegatronWord located(const ShellWord& word, const std::string& file) {
  return {word.text, file + ":" + std::to_string(word.line), word.unknown};
}

// ---- scripts ----

bool is_training_script(std::string_view word) {
  const std::string_view name = word.substr(word.find_last_of('/') + 1);
  if (!name.ends_with(".py")) return false;
  return name.starts_with("pretrain_") || name == "train.py" || name == "train_rl.py";
}

// How launchers spell what they start. All of them read '_' as '-'.
enum class Counts : uint8_t { nodes, per_node, all };
struct LauncherOption {
  std::string_view name;
  Counts counts;
};
constexpr auto kLauncherOptions = std::to_array<LauncherOption>({
    {"--nnodes", Counts::nodes},  // torchrun
    {"--nproc-per-node", Counts::per_node},
    {"--nodes", Counts::nodes},  // srun
    {"-N", Counts::nodes},
    {"--ntasks-per-node", Counts::per_node},
    {"--ntasks", Counts::all},
    {"-n", Counts::all},
    {"--num-nodes", Counts::nodes},  // deepspeed
    {"--num-gpus", Counts::per_node},
});

std::optional<int64_t> small_count(std::string_view text) {
  int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size()) return {};
  if (value < 1 || value > kMaxCount) return {};
  return value;
}

class LauncherCounts {
 public:
  explicit LauncherCounts(std::span<const ShellWord> words) {
    for (size_t i = 0; i < words.size(); ++i) {
      // Of "srun … torchrun …" the inner one starts the processes of a node.
      const std::string& text = words[i].text;
      if (text.ends_with("torchrun") || text == "torch.distributed.run" ||
          text == "torch.distributed.launch" || text.ends_with("deepspeed"))
        per_node_ = 1, all_ = {};
      read(words, i);
    }
  }

  void fill(MegatronLaunch& launch) const {
    if (!known_) return;
    if (all_) {
      launch.gpus = all_;
    } else if (per_node_) {
      launch.gpus_per_node = per_node_;
      launch.gpus = checked_mul(nodes_.value_or(1), *per_node_);
    }
  }

 private:
  void read(std::span<const ShellWord> words, size_t i) {
    std::string name = words[i].text;
    std::string_view value;
    bool unknown = !words[i].unknown.empty();
    if (const size_t equals = name.find('='); equals != name.npos) {
      value = std::string_view(words[i].text).substr(equals + 1);
      name.resize(equals);
    } else if (i + 1 < words.size()) {
      value = words[i + 1].text;
      unknown = unknown || !words[i + 1].unknown.empty();
    }
    std::ranges::replace(name, '_', '-');
    const auto* row = std::ranges::find(kLauncherOptions, name, &LauncherOption::name);
    if (row == kLauncherOptions.end()) return;
    const auto count = unknown ? std::optional<int64_t>() : small_count(value);
    if (!count) known_ = false;  // "gpu", "1:4", $NNODES
    if (row->counts == Counts::nodes)
      nodes_ = count;
    else if (row->counts == Counts::per_node)
      per_node_ = count;
    else
      all_ = count;
  }

  std::optional<int64_t> nodes_, per_node_, all_;
  bool known_ = true;
};

void read_launch(const ShellCommand& command, size_t script, const std::string& file,
                 MegatronLaunch& out) {
  const MegatronWord program = located(command.words[script], file);
  if (!out.script.empty())
    throw bad(program.where,
              fmt::format("{} is started here and {} at {}", printable(program.text), out.script,
                          out.script_where),
              "keep one launch line");
  out.script = program.text.substr(program.text.find_last_of('/') + 1);
  out.script_where = program.where;
  for (size_t i = script + 1; i < command.words.size(); ++i)
    out.words.push_back(located(command.words[i], file));
  for (const auto& [name, value] : command.environment)
    out.environment.push_back({name, located(value, file)});
  const std::span<const ShellWord> launcher(command.words.data(), script);
  for (const ShellWord& word : launcher) {  // env NAME=value python …
    const size_t equals = word.text.find('=');
    if (equals != 0 && equals != word.text.npos && word.text.front() != '-')
      out.environment.push_back(
          {word.text.substr(0, equals),
           located({word.text.substr(equals + 1), word.line, word.unknown}, file)});
  }
  LauncherCounts(launcher).fill(out);
}

MegatronLaunch read_script(std::string_view text, const std::string& file) {
  MegatronLaunch out;
  read_shell_script(text, file, [&](const ShellCommand& command) {
    for (size_t i = 0; i < command.words.size(); ++i) {
      if (!is_training_script(command.words[i].text)) continue;
      if (i == 0 || command.words.front().text == "echo") return;  // a name alone starts nothing
      return read_launch(command, i, file, out);
    }
  });
  if (out.script.empty())
    throw bad(file, "starts no pretrain_*.py or train.py", std::string(kForms));
  return out;
}

// ---- JSON ----

// "[a b]", as the tests' YAML writes several words, and backslashes meant for a shell.
std::vector<std::string> words_of_text(std::string text) {
  std::erase(text, '\\');
  const bool list = text.size() > 2 && text.front() == '[' && text.back() == ']' &&
                    text.find_first_of("[]*+,", 1) == text.size() - 1;
  if (list) text = text.substr(1, text.size() - 2);
  if (!list) return {text};
  std::vector<std::string> out;
  for (std::string_view part : split(text, ' '))
    if (!part.empty()) out.emplace_back(part);
  return out;
}

void add_values(const JsonNode& node, std::vector<MegatronWord>& out) {
  if (node.is_object())
    throw node.error("an argument's value is no object", "give a number, a text, true or a list");
  if (node.is_text()) {
    for (std::string& word : words_of_text(node.text()))
      out.push_back({std::move(word), node.where()});
  } else {
    out.push_back({node.number_text(), node.where()});
  }
}

void add_list(const JsonNode& item, std::vector<MegatronWord>& out) {
  if (item.is_text()) {
    const std::string text = item.text();
    for (std::string_view part : split(text, ' '))
      if (!part.empty()) out.push_back({std::string(part), item.where()});
  } else {
    add_values(item, out);
  }
}

void add_argument(std::string_view name, const JsonNode& value, std::vector<MegatronWord>& out) {
  if (!name.starts_with("--"))
    throw value.error("is no argument of Megatron-LM", "arguments begin with --");
  if (value.is_null() || value.is_false()) return;
  out.push_back({std::string(name), value.where()});
  if (value.is_boolean()) return;
  if (!value.is_array()) return add_values(value, out);
  for (const JsonNode& item : value.items()) add_list(item, out);
}

// ---- what a text is ----

// The first word that is no comment.
std::string_view first_word(std::string_view text) {
  for (std::string_view line : split(text, '\n')) {
    const size_t from = line.find_first_not_of(" \t\r");
    if (from == line.npos || line[from] == '#') continue;
    line.remove_prefix(from);
    return line.substr(0, line.find_first_of(" \t\r"));
  }
  return {};
}

bool looks_like_yaml(std::string_view text, const std::string& file) {
  if (file.ends_with(".yaml") || file.ends_with(".yml")) return true;
  const std::string_view word = first_word(text);
  return word == "---" || (word.size() > 1 && word.ends_with(':'));
}

}  // namespace

MegatronLaunch megatron_launch(const JsonNode& arguments, const std::string& from) {
  MegatronLaunch out;
  out.from = from;
  const JsonNode& root = arguments.require_object();
  const auto inner = root.find("MODEL_ARGS");
  const JsonNode& object = inner ? inner->require_object() : root;
  for (std::string_view key : object.keys()) {
    if (!inner && key == "ENV_VARS") continue;
    add_argument(key, object.at(key), out.words);
  }
  if (const auto variables = root.find("ENV_VARS"); variables && !variables->is_null())
    read_environment(*variables, out);
  return out;
}

void read_environment(const JsonNode& variables, MegatronLaunch& launch) {
  for (std::string_view key : variables.require_object().keys()) {
    const JsonNode node = variables.at(key);
    std::vector<MegatronWord> value;
    if (!node.is_null() && !node.is_boolean()) add_values(node, value);
    if (!value.empty()) launch.environment.push_back({std::string(key), value.front()});
  }
}

MegatronLaunch parse_megatron_text(std::string_view text, const std::string& file) {
  const std::string name = printable(file);
  const std::string_view first = first_word(text);
  if (first.empty()) throw bad(name, "holds no arguments", std::string(kForms));
  if (first_broken_utf8(text) != text.npos || text.find('\0') != text.npos)
    throw bad(name, "is no text", std::string(kForms));
  MegatronLaunch out;
  if (first.front() == '{') {
    const JsonDocument document(text, file);
    out = megatron_launch(document.root(), name);
  } else if (looks_like_yaml(text, file)) {
    throw yaml_is_not_read(file);
  } else if (first.starts_with("--") || first.starts_with("'--") || first.starts_with("\"--")) {
    for (const ShellWord& word : read_argument_words(text, name))
      out.words.push_back(located(word, name));
  } else {
    out = read_script(text, name);
  }
  out.from = name;
  return out;
}

MegatronLaunch read_megatron_file(const std::string& path) {
  return parse_megatron_text(read_text_file(path), path);
}

MegatronLaunch megatron_launch(const std::vector<std::string>& words) {
  MegatronLaunch out;
  out.from = "command line";
  for (const std::string& word : words) out.words.push_back({word, "behind --"});
  return out;
}

}  // namespace memplan
