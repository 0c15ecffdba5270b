// A report's `request` object, or a whole report, read back.
#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"
#include "cli/job_options.h"
#include "cli/settings.h"
#include "input/json.h"
#include "input/peft_config.h"
#include "input/text_file.h"
#include "input/version.h"
#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kMostNumber = int64_t{1} << 62;  // parse_bytes' own bound

std::vector<std::string_view> known_keys(const std::vector<std::string>& own) {
  std::vector<std::string_view> keys = {"model", "peft", "profile", "megatron_arguments"};
  keys.insert(keys.end(), own.begin(), own.end());
  return keys;
}

// What the command line would have said.
std::string as_text(const JsonNode& node, const SettingRow& row) {
  if (node.is_text()) return node.text();
  if (row.value.empty() || node.is_boolean()) return node.boolean() ? "true" : "false";
  const std::string text = node.number_text();
  return text.find_first_of(".eE") == text.npos ? std::to_string(node.count(0, kMostNumber)) : text;
}

using PeftField = std::pair<std::string_view, void (*)(const JsonNode&, PeftSpec&)>;
constexpr int64_t kMostRank = int64_t{1} << 20;

template <std::vector<std::string> PeftSpec::*field>
void words(const JsonNode& node, PeftSpec& peft) {
  peft.*field = node.texts();
}
template <int64_t PeftSpec::*field, int64_t least>
void whole(const JsonNode& node, PeftSpec& peft) {
  peft.*field = node.count(least, kMostRank);
}

void read_ranks(const JsonNode& node, PeftSpec& peft) {
  for (std::string_view name : node.require_object().keys())
    peft.rank_pattern.emplace_back(name, node.at(name).count(1, kMostNumber));
}

void read_bias(const JsonNode& node, PeftSpec& peft) {
  const std::string name =
      node.one_of(std::vector<std::string_view>(kPeftBiasNames.begin(), kPeftBiasNames.end()));
  peft.bias =
      static_cast<PeftBias>(std::ranges::find(kPeftBiasNames, name) - kPeftBiasNames.begin());
}

void read_blocks(const JsonNode& node, PeftSpec& peft) {
  peft.block_diagonal = {node.require_object().at("blocks").count(1, kMostRank),
                         node.at("a").texts(), node.at("b").texts()};
}

void read_own_settings(const JsonNode& node, PeftSpec& peft) {
  std::vector<std::string_view> known;
  for (const PeftSetting& row : peft_settings())
    if (row.kind == peft.kind) known.push_back(row.key);
  for (std::string_view key : node.require_object().keys()) {
    const JsonNode value = node.at(key);
    if (std::ranges::find(known, key) == known.end())
      throw value.error("is no setting of this method", name_hint(key, known));
    for (const PeftSetting& row : peft_settings())
      if (row.kind == peft.kind && row.key == key) read_peft_setting(value, row, peft);
  }
}

constexpr auto kPeftFields = std::to_array<PeftField>({
    {"kind", [](const JsonNode&, PeftSpec&) {}},
    {"version",
     [](const JsonNode& n, PeftSpec& p) { p.version = parse_version(n.text(), n.where()); }},
    {"rank", whole<&PeftSpec::rank, 0>},
    {"alpha", [](const JsonNode& n, PeftSpec& p) { p.alpha = n.number(); }},
    {"dropout", [](const JsonNode& n, PeftSpec& p) { p.dropout = n.probability(); }},
    {"merged", [](const JsonNode& n, PeftSpec& p) { p.merged = n.boolean(); }},
    {"targets", words<&PeftSpec::targets>},
    {"excluded", words<&PeftSpec::excluded>},
    {"feedforward", words<&PeftSpec::feedforward>},
    {"layers", [](const JsonNode& n, PeftSpec& p) { p.layers = n.counts(0, kMostRank); }},
    {"layer_pattern", words<&PeftSpec::layer_pattern>},
    {"rank_pattern", read_ranks},
    {"modules_to_save", words<&PeftSpec::modules_to_save>},
    {"bias", read_bias},
    {"fraction", [](const JsonNode& n, PeftSpec& p) { p.fraction = n.probability(); }},
    {"settings", read_own_settings},
    {"block_diagonal", read_blocks},
    {"bottleneck", whole<&PeftSpec::bottleneck, 1>},
    {"dropped_layers", whole<&PeftSpec::dropped_layers, 0>},
});

PeftSpec peft_of(const JsonNode& node) {
  std::vector<std::string_view> known;
  for (const auto& [key, read] : kPeftFields) known.push_back(key);
  for (std::string_view key : node.require_object().keys())
    if (std::ranges::find(known, key) == known.end())
      throw node.error("unknown key '" + printable(key) + "'", name_hint(key, known));
  const JsonNode kind = node.at("kind");
  PeftSpec peft = make_peft(parse_name<PeftKind>(kind.text(), kind.where()));
  for (const auto& [key, read] : kPeftFields)
    if (const auto value = node.find(key)) read(*value, peft);
  if (peft.rank == 0 && peft_method(peft.kind).rank != 0)
    throw node.at("rank").error("0 is too small");
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
    } else if (key == "megatron_arguments") {
      out.megatron = megatron_launch(node.texts());
      for (MegatronWord& word : out.megatron->words) word.where = node.where();
    } else if (key == "profile") {
      throw Error(ErrorKind::not_modelled, node.where(), "calibration profiles are not read yet",
                  "leave it away");
    } else if (const SettingRow* row = find_setting(option); row && key_of(option) == key) {
      out.settings.push_back({option, as_text(node, *row), node.where(), from});
    } else {
      throw request.missing(key).error("unknown setting", name_hint(key, known_keys(own)));
    }
  }
  if (out.megatron && !out.model.empty()) out.megatron->from = out.model;
  return out;
}

}  // namespace memplan
