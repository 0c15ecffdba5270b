#include "input/published_operator.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/text.h"
#include "input/published_fields.h"
#include "input/version.h"

namespace memplan {
namespace {

using Kind = OperatorBench::Kind;

// What the benchmark's script calls its sizes; tokens are the product of `rows`.
struct OperatorRow {
  std::string_view name;
  Kind kind;
  std::array<std::string_view, 2> rows;
  std::string_view width, inner, vocabulary;
  Version liger_from;  ///< whose buffers are those of the modelled version
};
// benchmark/scripts/benchmark_NAME.py. Before 0.8 the fused loss up-cast its logits; before 0.5
// RMSNorm kept a gradient of the weight for every row.
constexpr auto kOperators = std::to_array<OperatorRow>({
    {"cross_entropy", Kind::cross_entropy, {"B", "T"}, "", "", "V", {0, 2, 0}},
    {"fused_linear_cross_entropy",
     Kind::fused_linear_cross_entropy,
     {"BT", ""},
     "H",
     "",
     "V",
     {0, 8, 0}},
    {"swiglu", Kind::gated_mlp, {"B", "T"}, "hidden_size", "intermediate_size", "", {0, 2, 0}},
    {"geglu", Kind::gated_mlp, {"bsz", "T"}, "hidden_size", "intermediate_size", "", {0, 2, 0}},
    {"layer_norm", Kind::layer_norm, {"M", ""}, "N", "", "", {0, 2, 0}},
    {"rms_norm", Kind::rms_norm, {"M", ""}, "H", "", "", {0, 5, 0}},
});

// The swept size stands as text beside the others, which are an object in a text.
class Sizes {
 public:
  Sizes(const JsonNode& model, const JsonNode& config) : model_(model), config_(config) {}

  int64_t operator[](std::string_view name) const {
    if (name.empty()) return 1;
    const auto swept = model_.find(name);
    if (!swept) return config_.at(name).count();
    const std::string text = swept->text();
    int64_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc() || end != text.data() + text.size() || value < 1 ||
        value > kMaxCount)
      throw swept->error("is no size");
    return value;
  }

 private:
  JsonNode model_, config_;
};

OperatorBench read_bench(const JsonNode& line) {
  const JsonNode model = line.at("model");
  const auto refuse = [&](const std::string& problem) {
    return line.error(problem, "", ErrorKind::not_modelled);
  };
  const std::string op = model.at("op").text();
  const auto row = std::ranges::find(kOperators, op, &OperatorRow::name);
  if (row == kOperators.end())
    throw refuse("the benchmark of the operator " + printable(op) + " is not run");
  OperatorBench out;
  out.kind = row->kind;
  const std::string provider = model.at("provider").text();
  out.liger = provider == "liger";
  if (!out.liger && provider != "huggingface")
    throw refuse("operators of " + printable(provider) + " are not modelled");
  constexpr std::string_view kLiger = "liger ";
  const std::string version = published_text(line, "framework_version");
  if (out.liger && version.starts_with(kLiger) &&
      parse_version(version.substr(kLiger.size()), line.where()) < row->liger_from)
    throw refuse("Liger's " + op + " of " + printable(version) + " is not modelled");
  const std::string gpu = published_text(line, "gpu");
  for (const auto& [named, preset] :
       {std::pair{"A100-SXM4-80GB", "a100-80g"}, std::pair{"H100 80GB HBM3", "h100-80g"}})
    if (gpu.find(named) != gpu.npos) out.gpu = find_gpu(preset);
  if (out.gpu.name.empty()) throw refuse("the GPU " + printable(gpu) + " is not known");
  const std::string text = model.at("config").text();
  const JsonDocument config(text, model.where() + "/config");
  const Sizes sizes(model, config.root());
  out.tokens = checked_mul(sizes[row->rows[0]], sizes[row->rows[1]]);
  out.width = sizes[row->width];
  out.inner = sizes[row->inner];
  out.vocabulary = sizes[row->vocabulary];
  if (const auto dtype = config.root().find("dtype")) {
    const std::string name = dtype->text();
    constexpr std::string_view kTorch = "torch.";
    if (!name.starts_with(kTorch)) throw dtype->error("is no dtype");
    out.dtype = parse_dtype(name.substr(kTorch.size()), dtype->where());
  }
  return out;
}

}  // namespace

bool is_operator_record(const JsonNode& line) {
  return published_text(line, "kind") == "op_memory";
}

void read_operator_record(const JsonNode& line, MeasuredCase& out) {
  constexpr double kMiBytes = 0x1p20;
  const JsonNode model = line.at("model");
  const JsonNode peak = line.at("measured").at("op_peak_memory_mb");
  const double bytes = peak.number() * kMiBytes;
  if (!(bytes >= 0 && bytes < 0x1p62)) throw peak.error("is out of range");
  const std::string op = model.at("op").text() + " " + model.at("provider").text();
  out.figures.push_back({printable(op), bytes, {}, Answered::by_operator});
  try {
    out.bench = read_bench(line);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::not_modelled) throw;
    out.refused = error.problem();
  }
}

}  // namespace memplan
