#include "input/model_source.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <vector>

#include "base/embedded.h"
#include "base/text.h"
#include "input/hf_config.h"
#include "input/text_file.h"
#include "memplan/error.h"

namespace memplan {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWhatModelIs =
    "MODEL is a preset (`memplan show models` lists them), a HuggingFace config.json, a folder "
    "that holds one, or a size such as 7.5B";

const EmbeddedFile* find_preset(std::string_view word) {
  for (const EmbeddedFile& preset : embedded_models())
    if (fold_case(preset.name) == fold_case(word)) return &preset;
  return nullptr;
}

ModelSpec read_preset(const EmbeddedFile& preset) {
  const std::string name(preset.name);
  ModelSpec model = read_hf_config(preset.text, "preset " + name);
  model.name = name;
  return model;
}

// The config.json of a folder, or an error that says what the folder holds instead.
std::string config_of_folder(const std::string& folder) {
  std::error_code ignored;
  const fs::path path(folder);
  if (fs::exists(path / "config.json", ignored)) return (path / "config.json").string();
  if (fs::exists(path / "adapter_config.json", ignored))
    throw Error(ErrorKind::bad_input, printable(folder),
                "holds a PEFT adapter and no config.json of a model",
                "give the folder to --peft, and the base model as MODEL");
  throw Error(ErrorKind::bad_input, printable(folder), "the folder holds no config.json",
              std::string(kWhatModelIs));
}

Error unknown_model(const std::string& word) {
  std::vector<std::string_view> names;
  for (const EmbeddedFile& preset : embedded_models()) names.push_back(preset.name);
  // "meta-llama/Llama-3-8B" is no file; its last part may be near a preset.
  const std::string_view last = std::string_view(word).substr(word.find_last_of('/') + 1);
  const std::string near = nearest_name(last, names);
  std::string hint = near.empty() ? "" : "did you mean '" + near + "'? ";
  if (word.find('/') != word.npos && near.empty())
    hint = "models are not downloaded: give the path of a config.json. ";
  return Error(ErrorKind::bad_input, "MODEL",
               "'" + printable(word) + "' is no preset, no size and no file",
               hint + std::string(kWhatModelIs));
}

}  // namespace

std::optional<int64_t> parse_bare_size(std::string_view text) {
  struct Unit {
    char letter;
    int zeros;
  };
  constexpr std::array<Unit, 4> kUnits{{{'k', 3}, {'m', 6}, {'b', 9}, {'t', 12}}};
  constexpr int64_t kMost = 1'000'000'000'000'000;
  if (text.size() < 2) return {};
  const char letter = lower(text.back());
  const auto unit = std::ranges::find(kUnits, letter, &Unit::letter);
  const std::string_view number = text.substr(0, text.size() - 1);
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const bool decimal = std::ranges::all_of(number, [&](char c) { return is_digit(c) || c == '.'; });
  if (unit == kUnits.end() || !decimal || std::ranges::count(number, '.') > 1 ||
      !is_digit(number.front()) || !is_digit(number.back()))
    return {};

  const auto fail = [&](std::string problem) {
    return Error(ErrorKind::bad_input, "MODEL",
                 "the size '" + printable(text) + "' " + std::move(problem));
  };
  int64_t value = 0;
  int zeros = unit->zeros;
  bool fraction = false;
  for (char c : number) {
    if (c == '.') {
      fraction = true;
      continue;
    }
    if (fraction && zeros == 0) {
      if (c != '0') throw fail("is no whole number of parameters");
      continue;
    }
    value = value * 10 + (c - '0');
    if (fraction) --zeros;
    if (value > kMost) throw fail("is above 1000T parameters");
  }
  for (; zeros > 0; --zeros) {
    value *= 10;
    if (value > kMost) throw fail("is above 1000T parameters");
  }
  if (value == 0) throw fail("is zero");
  return value;
}

ModelSpec read_model(const std::string& word) {
  const bool is_path = word.find_first_of("/\\") != word.npos || word == "." || word == "..";
  if (!is_path) {
    if (const EmbeddedFile* preset = find_preset(word)) return read_preset(*preset);
    if (const auto parameters = parse_bare_size(word)) {
      ModelSpec model;
      model.name = word;
      model.source = "bare size: only the number of parameters is known";
      model.bare_parameters = parameters;
      return model;
    }
  }
  std::error_code ignored;
  const bool exists = !word.empty() && word.find('\0') == word.npos && fs::exists(word, ignored);
  if (!exists && word.ends_with(".json"))  // meant as a file: say that it is missing
    return read_hf_config(read_text_file(word), word);
  if (!exists) throw unknown_model(word);
  const std::string file = fs::is_directory(word, ignored) ? config_of_folder(word) : word;
  if (file.ends_with(".safetensors") || file.ends_with(".bin") || file.ends_with(".gguf") ||
      file.ends_with(".pt"))
    throw Error(ErrorKind::bad_input, printable(file), "holds weights, not a model's config",
                "give the config.json as MODEL and a safetensors file to --weights");
  return read_hf_config(read_text_file(file), file);
}

}  // namespace memplan
