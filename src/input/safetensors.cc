// Format: huggingface/safetensors 0.8, README.md "Format" and safetensors/src/tensor.rs.
#include "input/safetensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/text.h"
#include "input/json.h"
#include "input/text_file.h"
#include "memplan/units.h"

namespace memplan {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxHeader = int64_t{32}
                               << 20;  // tensor.rs allows 100 MB; this bounds time and memory
constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMaxDimension = int64_t{1} << 48;

struct StoredType {
  std::string_view name;
  int64_t bits;
};

// Dtype of tensor.rs.
constexpr auto kTypes = std::to_array<StoredType>({
    {"F64", 64},    {"F32", 32},        {"F16", 16},        {"BF16", 16},   {"I64", 64},
    {"I32", 32},    {"I16", 16},        {"I8", 8},          {"U64", 64},    {"U32", 32},
    {"U16", 16},    {"U8", 8},          {"BOOL", 8},        {"F8_E4M3", 8}, {"F8_E5M2", 8},
    {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6},
    {"F4", 4},      {"C64", 64},
});

struct Span {
  int64_t begin, end;
  std::string name;
};

Error bad_file(const std::string& file, std::string problem, std::string hint = {}) {
  return Error(ErrorKind::bad_input, printable(file), std::move(problem), std::move(hint));
}

// Files that people have in place of safetensors, by their first bytes.
void refuse_other_formats(const std::string& file, std::string_view start) {
  if (start.starts_with("PK\x03\x04") || start.starts_with("\x80\x02"))
    throw bad_file(file, "is a PyTorch checkpoint", "only safetensors files are read");
  if (start.starts_with("GGUF"))
    throw bad_file(file, "is a GGUF file", "only safetensors files are read");
  if (start.starts_with("version https://git-lfs"))
    throw bad_file(file, "is a Git LFS pointer, not the weights", "run `git lfs pull`");
}

// The JSON header; `data_bytes` receives the number of bytes behind it.
std::string read_header(const std::string& file, int64_t& data_bytes) {
  std::error_code failed;
  if (!fs::is_regular_file(file, failed)) throw bad_file(file, "no such file");
  const auto size = static_cast<int64_t>(fs::file_size(file, failed));
  std::ifstream in(file, std::ios::binary);
  if (failed || !in) throw bad_file(file, "cannot be opened");
  std::array<char, 64> start{};
  in.read(start.data(), start.size());
  const auto got = static_cast<size_t>(in.gcount());
  refuse_other_formats(file, std::string_view(start.data(), got));
  if (size < kLengthBytes + 2)
    throw bad_file(file, "is too short for a safetensors header", "was the download cut off?");
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;)
    length = length << 8 | static_cast<unsigned char>(start[i]);
  if (length > static_cast<uint64_t>(kMaxHeader))
    throw bad_file(file, "its header would be " + std::to_string(length) + " bytes",
                   "memplan reads headers up to 32 MiB; is this a safetensors file?");
  if (static_cast<int64_t>(length) > size - kLengthBytes)
    throw bad_file(file, "ends within its header", "was the download cut off?");
  std::string header(length, '\0');
  in.clear();
  in.seekg(kLengthBytes);
  if (!in.read(header.data(), static_cast<std::streamsize>(length)))
    throw bad_file(file, "cannot be read");
  if (!header.starts_with('{')) throw bad_file(file, "is not a safetensors file");
  data_bytes = size - kLengthBytes - static_cast<int64_t>(length);
  return header;
}

// Bytes of the tensor, from dtype and shape.
int64_t stored_bytes(const JsonNode& entry, const StoredTensor& tensor) {
  const auto type = std::ranges::find(kTypes, tensor.dtype, &StoredType::name);
  if (type == kTypes.end()) {
    std::vector<std::string_view> names;
    for (const StoredType& row : kTypes) names.push_back(row.name);
    throw entry.at("dtype").error("unknown dtype '" + printable(tensor.dtype) + "'",
                                  name_hint(tensor.dtype, names));
  }
  int64_t bits = type->bits;
  for (int64_t dimension : tensor.shape) bits = checked_mul(bits, dimension);
  if (bits % 8 != 0) throw entry.at("shape").error("is no whole number of bytes");
  return bits / 8;
}

// Tensors lie behind each other without holes (InvalidOffset of tensor.rs) and fill the file.
void check_layout(const std::string& file, std::vector<Span>& spans, int64_t data_bytes) {
  std::ranges::sort(spans, [](const Span& a, const Span& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  int64_t at = 0;
  for (const Span& span : spans) {
    if (span.begin < at)
      throw bad_file(file, "tensor '" + printable(span.name) + "' overlaps the one before it");
    if (span.begin > at)
      throw bad_file(file, "a hole of " + std::to_string(span.begin - at) +
                               " bytes before tensor '" + printable(span.name) + "'");
    at = span.end;
  }
  if (at > data_bytes)
    throw bad_file(file,
                   "ends " + format_bytes(Bytes(at - data_bytes)) + " before its last tensor does",
                   "was the download cut off?");
  if (at < data_bytes)
    throw bad_file(file, std::to_string(data_bytes - at) + " bytes behind the last tensor");
}

void read_shard(const std::string& path, const std::string& shard, WeightsFile& out) {
  int64_t data_bytes = 0;
  const std::string header = read_header(path, data_bytes);
  const JsonDocument document(header, path);
  const JsonNode root = document.root().require_object();
  std::vector<Span> spans;
  for (std::string_view name : root.keys()) {
    if (name == "__metadata__") continue;
    const JsonNode entry = root.at(name).require_object();
    StoredTensor tensor{.name = std::string(name),
                        .shape = entry.at("shape").counts(0, kMaxDimension),
                        .dtype = entry.at("dtype").text(),
                        .file = shard};
    const JsonNode offsets = entry.at("data_offsets");
    const std::vector<int64_t> range = offsets.counts(0, int64_t{1} << 60);
    if (range.size() != 2 || range[0] > range[1])
      throw offsets.error("must be two numbers, the first not above the second");
    const int64_t bytes = stored_bytes(entry, tensor);
    if (range[1] - range[0] != bytes)
      throw offsets.error("spans " + std::to_string(range[1] - range[0]) +
                          " bytes, but dtype and shape make " + std::to_string(bytes));
    spans.push_back({range[0], range[1], tensor.name});
    out.total_bytes = checked_add(out.total_bytes, bytes);
    out.tensors.push_back(std::move(tensor));
  }
  check_layout(path, spans, data_bytes);
}

void sort_and_check_names(WeightsFile& weights) {
  std::ranges::sort(weights.tensors, {}, &StoredTensor::name);
  const auto twice = std::ranges::adjacent_find(weights.tensors, {}, &StoredTensor::name);
  if (twice != weights.tensors.end())
    throw bad_file(weights.name, "tensor '" + printable(twice->name) + "' is stored twice, in " +
                                     printable(twice->file) + " and " +
                                     printable(std::next(twice)->file));
}

// metadata.total_size; some tools write it with a fraction, "14483464192.0".
int64_t total_size(const JsonNode& root) {
  const auto metadata = root.find("metadata");
  if (!metadata || !metadata->is_object()) return 0;
  const auto size = metadata->find("total_size");
  if (!size || size->is_null()) return 0;
  const double value = size->number();
  if (value == std::floor(value) && value >= 0 && value < 9e15) return static_cast<int64_t>(value);
  return size->count(0, int64_t{1} << 60);
}

using WeightMap = std::map<std::string, std::vector<std::string>>;  // shard -> tensors

WeightMap read_weight_map(const JsonNode& root) {
  WeightMap shards;
  const JsonNode map = root.at("weight_map").require_object();
  for (std::string_view tensor : map.keys()) {
    const JsonNode entry = map.at(tensor);
    const std::string shard = entry.text();
    if (shard.empty() || shard.find_first_of("/\\") != shard.npos || shard == "." || shard == "..")
      throw entry.error("must be the name of a file beside the index, not '" + printable(shard) +
                        "'");
    shards[shard].emplace_back(tensor);
  }
  if (shards.empty()) throw map.error("names no tensor");
  return shards;
}

void check_against_index(const WeightsFile& weights, const WeightMap& shards) {
  for (const auto& [shard, names] : shards) {
    for (const std::string& name : names) {
      const auto found = std::ranges::lower_bound(weights.tensors, name, {}, &StoredTensor::name);
      if (found == weights.tensors.end() || found->name != name || found->file != shard)
        throw bad_file(
            weights.name,
            "tensor '" + printable(name) + "' is not in " + printable(shard) + " as the index says",
            "index and shards are of different models");
    }
  }
}

WeightsFile read_index(const std::string& path) {
  const JsonDocument document(read_text_file(path, kMaxHeader), path);
  const JsonNode root = document.root().require_object();
  if (!root.find("weight_map"))
    throw root.error("is no index of weights: it has no weight_map",
                     "give a .safetensors file, its index, or the folder");
  const WeightMap shards = read_weight_map(root);
  WeightsFile weights{.name = path};
  const fs::path folder = fs::path(path).parent_path();
  std::error_code ignored;
  for (const auto& [shard, names] : shards) {
    const bool readable = shard.ends_with(".safetensors");
    if (!readable || !fs::exists(folder / shard, ignored)) weights.missing_shards.push_back(shard);
  }
  weights.shapes_known = weights.missing_shards.empty();
  for (const auto& [shard, names] : shards) {
    if (weights.shapes_known) {
      read_shard((folder / shard).string(), shard, weights);
    } else {
      for (const std::string& name : names) weights.tensors.push_back({name, {}, {}, shard});
    }
  }
  sort_and_check_names(weights);
  if (weights.shapes_known)
    check_against_index(weights, shards);
  else
    weights.total_bytes = total_size(root);
  return weights;
}

}  // namespace

WeightsFile read_weights(const std::string& path) {
  std::error_code ignored;
  if (path.empty() || path.find('\0') != path.npos || !fs::exists(path, ignored))
    throw bad_file(path.empty() ? "--weights" : path, "no such file");
  if (fs::is_directory(path, ignored)) {
    for (std::string_view name : {"model.safetensors.index.json", "model.safetensors"}) {
      const fs::path inside = fs::path(path) / name;
      if (fs::exists(inside, ignored)) return read_weights(inside.string());
    }
    throw bad_file(path, "the folder holds no model.safetensors and no index of one");
  }
  if (path.ends_with(".json")) return read_index(path);
  WeightsFile weights{.name = path, .shapes_known = true};
  read_shard(path, fs::path(path).filename().string(), weights);
  sort_and_check_names(weights);
  return weights;
}

}  // namespace memplan
