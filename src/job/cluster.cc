// Reading the names of GPUs, nodes and clusters.
#include "memplan/cluster.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <vector>

#include "base/text.h"
#include "memplan/error.h"

namespace memplan {
namespace {

using Words = std::vector<std::string>;

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }
bool is_number(const std::string& word) { return std::ranges::all_of(word, is_digit); }

// Lower-case words of a name. Sizes are spelled "80g", whether they came as "80 GB", "80GB" or
// "80g"; "rtx4090" is two words.
Words words_of(std::string_view text) {
  Words words;
  for (size_t i = 0; i < text.size();) {
    std::string word;
    for (; i < text.size() && std::isalnum(static_cast<unsigned char>(text[i])); ++i)
      word += lower(text[i]);
    if (word.empty()) {
      ++i;
      continue;
    }
    if (word.size() > 3 && word.starts_with("rtx")) {
      words.push_back("rtx");
      word = word.substr(3);
    }
    for (std::string_view unit : {"gib", "gb", "g"}) {
      if (!word.ends_with(unit)) continue;
      const std::string number = word.substr(0, word.size() - unit.size());
      if (!is_number(number)) break;
      word = number + "g";
      if (number.empty() && !words.empty() && is_number(words.back())) {
        word = words.back() + "g";
        words.pop_back();
      }
      break;
    }
    words.push_back(word);
  }
  return words;
}

bool has(const Words& words, const std::string& word) {
  return std::ranges::find(words, word) != words.end();
}

// A word of a preset's name without which the preset is not meant; sizes and makes are optional.
bool is_required(const std::string& word) {
  const bool size =
      word.size() > 1 && word.back() == 'g' && is_number(word.substr(0, word.size() - 1));
  return !size && word != "pcie" && word != "rtx";
}

// Does the query name this preset: its model, and nothing that the preset is not?
bool names_preset(const Words& query, const GpuSpec& spec) {
  Words known = words_of(spec.name);
  for (const std::string& word : known)
    if (is_required(word) && !has(query, word)) return false;
  for (std::string& word : words_of(spec.description)) known.push_back(std::move(word));
  return std::ranges::all_of(query, [&](const std::string& word) {
    if (word == "sxm")  // without its generation
      return std::ranges::any_of(known, [](const std::string& k) { return k.starts_with("sxm"); });
    return has(known, word);
  });
}

// The presets a name may mean. The plain form wins over its own variants: "a100-80g" is not
// "a100-80g-pcie".
std::vector<const GpuSpec*> candidates(std::string_view name) {
  const Words query = words_of(name);
  std::vector<const GpuSpec*> found;
  for (const GpuSpec& spec : gpu_presets())
    if (names_preset(query, spec)) found.push_back(&spec);
  const std::vector<const GpuSpec*> all = found;
  std::erase_if(found, [&](const GpuSpec* spec) {
    return std::ranges::any_of(
        all, [&](const GpuSpec* other) { return spec->name.starts_with(other->name + "-"); });
  });
  return found;
}

const NodeSpec* node_named(std::string_view name) {
  const auto nodes = node_presets();
  const auto found = std::ranges::find(nodes, fold_case(name), &NodeSpec::name);
  return found == nodes.end() ? nullptr : &*found;
}

template <typename Spec>
void append_names(std::span<const Spec> specs, std::vector<std::string_view>& names) {
  for (const Spec& spec : specs) names.push_back(spec.name);
}

std::string hint_for(std::string_view name, const std::vector<std::string_view>& names,
                     std::string_view otherwise) {
  const std::string near = name_hint(name, names);
  return near.empty() ? std::string(otherwise) : near + " " + std::string(otherwise);
}

constexpr std::string_view kGiveMemory =
    "a GPU that is not listed is given by its memory: --gpu-memory 24GiB";

[[noreturn]] void ambiguous(std::string_view name, const std::vector<const GpuSpec*>& found,
                            std::string_view where) {
  std::string list;
  for (const GpuSpec* spec : found) list += (list.empty() ? "" : ", ") + spec->name;
  throw Error(ErrorKind::bad_input, std::string(where), quoted(name) + " names more than one GPU",
              "choose one of " + list);
}

}  // namespace

const GpuSpec& find_gpu(std::string_view name, std::string_view where) {
  const auto found = candidates(name);
  if (found.size() == 1) return *found.front();
  if (found.size() > 1) ambiguous(name, found, where);
  std::vector<std::string_view> names;
  append_names(gpu_presets(), names);
  throw Error(ErrorKind::bad_input, std::string(where), "unknown GPU " + quoted(name),
              hint_for(name, names, kGiveMemory));
}

const NodeSpec& find_node(std::string_view name, std::string_view where) {
  if (const NodeSpec* node = node_named(name)) return *node;
  std::vector<std::string_view> names;
  append_names(node_presets(), names);
  throw Error(ErrorKind::bad_input, std::string(where), "unknown node " + quoted(name),
              hint_for(name, names, "`memplan show gpus` lists the nodes"));
}

GpuSpec custom_gpu(Bytes memory) {
  if (memory <= Bytes(0))
    throw Error(ErrorKind::bad_input, "--gpu-memory", "a GPU needs more than 0 bytes of memory",
                "give a size such as 24GiB");
  GpuSpec spec;
  spec.name = "custom";
  spec.description = "a GPU of which only the memory is known";
  spec.memory = memory;
  spec.source = "given by the user";
  return spec;
}

int64_t usual_gpus_per_node(int64_t gpus) {
  constexpr int64_t kUsualNode = 8;
  return std::min(gpus, kUsualNode);
}

Cluster parse_cluster(std::string_view text, std::string_view where) {
  // "8xNAME": a count only where digits are followed by an x.
  int64_t count = 1;
  std::string_view name = text;
  const size_t digits =
      static_cast<size_t>(std::ranges::find_if_not(text, is_digit) - text.begin());
  if (digits > 0 && digits < text.size() && (text[digits] == 'x' || text[digits] == 'X')) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + digits, count);
    if (code != std::errc() || count < 1)
      throw Error(ErrorKind::bad_input, std::string(where),
                  "a cluster has 1 to 2^63-1 nodes, not " + std::string(text.substr(0, digits)),
                  "write it as 8xdgx-h100");
    name = text.substr(digits + 1);
  }

  Cluster cluster;
  if (const NodeSpec* node = node_named(name)) {
    cluster.gpu = find_gpu(node->gpu, where);
    cluster.gpus = checked_mul(count, node->gpus);
    cluster.gpus_per_node = node->gpus;
    cluster.network_bandwidth = node->network_bandwidth;
    if (node->host_memory > Bytes(0)) cluster.host_memory = node->host_memory;
    return cluster;
  }
  const auto found = candidates(name);
  if (found.size() > 1) ambiguous(name, found, where);
  if (found.empty()) {
    std::vector<std::string_view> names;
    append_names(node_presets(), names);
    append_names(gpu_presets(), names);
    throw Error(ErrorKind::bad_input, std::string(where),
                quoted(name) + " is neither a node nor a GPU",
                hint_for(name, names, "write nodes as 8xdgx-h100, GPUs as 64xh100-80g"));
  }
  cluster.gpu = *found.front();
  cluster.gpus = count;
  cluster.gpus_per_node = usual_gpus_per_node(count);
  return cluster;
}

}  // namespace memplan
