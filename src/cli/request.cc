// A report's `request` object, or a whole report, read back.
#include <algorithm>

#include "base/text.h"
#include "cli/job_options.h"
#include "cli/settings.h"
#include "input/json.h"
#include "input/text_file.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kMostNumber = int64_t{1} << 62;  // parse_bytes' own bound

std::vector<std::string_view> known_keys(const std::vector<std::string>& own) {
  std::vector<std::string_view> keys = {"model", "peft", "profile"};
  keys.insert(keys.end(), own.begin(), own.end());
  return keys;
}

// What the command line would have said.
std::string as_text(const JsonNode& node, const SettingRow& row) {
  if (node.is_text()) return node.text();
  if (row.value.empty() || node.is_boolean()) return node.boolean() ? "true" : "false";
  return std::to_string(node.count(0, kMostNumber));
}

PeftSpec peft_of(const JsonNode& node) {
  constexpr int64_t kMostRank = int64_t{1} << 20;
  PeftSpec peft;
  const std::vector<std::string_view> keys = {
      "kind",    "rank",         "alpha",           "dropout",    "merged",
      "targets", "rank_pattern", "modules_to_save", "bottleneck", "dropped_layers"};
  for (std::string_view key : node.require_object().keys())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      throw node.error("unknown key '" + printable(key) + "'", name_hint(key, keys));
  peft.kind = parse_name<PeftKind>(node.at("kind").text(), node.at("kind").where());
  if (const auto value = node.find("rank")) peft.rank = value->count(1, kMostRank);
  if (const auto value = node.find("alpha")) peft.alpha = value->number();
  if (const auto value = node.find("dropout")) peft.dropout = value->probability();
  if (const auto value = node.find("merged")) peft.merged = value->boolean();
  if (const auto value = node.find("targets")) peft.targets = value->texts();
  if (const auto value = node.find("modules_to_save")) peft.modules_to_save = value->texts();
  if (const auto value = node.find("bottleneck")) peft.bottleneck = value->count(1, kMostRank);
  if (const auto value = node.find("dropped_layers"))
    peft.dropped_layers = value->count(0, kMostRank);
  if (const auto value = node.find("rank_pattern"))
    for (std::string_view name : value->require_object().keys())
      peft.rank_pattern.emplace_back(name, value->at(name).count(1, kMostRank));
  return peft;
}

}  // namespace

RequestFile read_request(const std::string& path) {
  const JsonDocument document(read_text_file(path), path);
  return read_request(document.root(), printable(path));
}

RequestFile read_request(const JsonNode& root, const std::string& from) {
  root.require_object();
  if (root.find("reports"))
    throw root.error("is the answer to a list of jobs", "give one of its `request` objects");
  const auto inner = root.find("request");
  const JsonNode request = inner.value_or(root).require_object();

  std::vector<std::string> own;
  for (const SettingRow& row : setting_rows()) own.push_back(key_of(row.option));

  RequestFile out;
  for (std::string_view key : request.keys()) {
    const JsonNode node = request.at(key);
    if (node.is_null()) continue;
    const std::string option = option_of(key);
    if (key == "model") {
      out.model = node.text();
    } else if (key == "peft" && node.is_object()) {
      out.settings.push_back({option, "", node.where(), from, peft_of(node)});
    } else if (key == "profile") {
      throw Error(ErrorKind::not_modelled, node.where(), "calibration profiles are not read yet",
                  "leave it away");
    } else if (const SettingRow* row = find_setting(option); row && key_of(option) == key) {
      out.settings.push_back({option, as_text(node, *row), node.where(), from});
    } else {
      throw request.missing(key).error("unknown setting", name_hint(key, known_keys(own)));
    }
  }
  return out;
}

}  // namespace memplan
