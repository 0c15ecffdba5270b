#include "input/published_megatron.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "input/megatron_args.h"
#include "input/published_fields.h"
#include "input/version.h"
#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {
namespace {

Error refusal(const JsonNode& node, std::string problem) {
  return node.error(std::move(problem), "", ErrorKind::not_modelled);
}

// A GPU's name in the records, and memplan's. "A100 (platform not in file name)" is the same
// machine: the tests' A100s are all in DGX A100 80GB.
struct GpuName {
  std::string_view begins, preset;
};
constexpr auto kGpus = std::to_array<GpuName>({
    {"A100", "a100-80g"},
    {"H100-SXM5-80GB", "h100-80g"},
    {"GB200", "gb200"},
});

void read_gpus(const JsonNode& line, Cluster& cluster) {
  const auto gpus = line.find("n_gpus");
  if (!gpus || gpus->is_null()) throw unsaid(line, "number of GPUs");
  cluster.gpus = gpus->count();
  const std::string name = published_text(line, "gpu");
  for (const GpuName& row : kGpus)
    if (name.starts_with(row.begins)) cluster.gpu = find_gpu(row.preset, line.where());
  if (cluster.gpu.name.empty()) throw refusal(line, "GPU '" + printable(name) + "' is not known");
  cluster.gpus_per_node = std::min(cluster.gpus, name.starts_with("GB200") ? int64_t{4} : 8);
}

// Where the record names no script, its family does.
std::string script_of(const JsonNode& line) {
  const std::string script = published_text(line, "training_script");
  if (!script.empty()) return script.substr(script.find_last_of('/') + 1);
  const std::string family = published_text(line.at("model"), "family");
  const bool gpt = family == "gpt" || family == "moe" || family == "mixtral";
  return gpt ? "pretrain_gpt.py" : "pretrain_" + family + ".py";
}

// Megatron-LM's images keep the torch of the NGC image they are built on (docker/Dockerfile.ci.dev:
// `uv sync --no-install-package torch`), whatever uv.lock says. Its version as those images print
// it: 2.12.0a0+0291f960b6.nv26.04.
struct NgcImage {
  std::string_view name;
  Version torch;
};
constexpr NgcImage kNgcImages[] = {
    {"nvcr.io/nvidia/pytorch:25.09-py3", {2, 9, 0}},
    {"nvcr.io/nvidia/pytorch:25.11-py3", {2, 10, 0}},
    {"nvcr.io/nvidia/pytorch:26.02-py3", {2, 11, 0}},
    {"nvcr.io/nvidia/pytorch:26.04-py3", {2, 12, 0}},
    {"nvcr.io/nvidia/pytorch:26.06-py3", {2, 13, 0}},
};

// The record names an image for each of the project's two environments.
void read_image(const JsonNode& line, const JsonNode& container, Version& torch) {
  const auto environment = line.find("environment");
  if (!environment || environment->is_null()) return;
  const auto image = container.find(environment->text());
  if (!image || image->is_null()) return;
  for (const NgcImage& known : kNgcImages)
    if (known.name == image->text()) torch = known.torch;
}

void read_versions(const JsonNode& line, Strategy& s) {
  const JsonNode version = line.at("framework_version");
  s.megatron.core = parse_version(version.text(), version.where());
  const auto container = line.find("container");
  if (!container || container->is_null()) return;
  const auto read = [&](std::string_view key, Version& out) {
    if (const auto node = container->find(key); node && !node->is_null())
      out = parse_version(node->text(), node->where());
  };
  read("transformer_engine", s.megatron.transformer_engine);
  read("torch(uv.lock)", s.torch);
  read_image(line, *container, s.torch);
}

// A vocabulary that everybody names by its file, with as many entries as lines
// (google-research/bert, cased_L-24_H-1024_A-16).
constexpr std::string_view kBertCased = "bert-large-cased-vocab.txt";
constexpr int64_t kBertCasedEntries = 28996;

bool is_bert_cased(const JsonNode& line) {
  const auto file = line.at("args").find("--vocab-file");
  return file && file->text().ends_with(kBertCased);
}

// The tests' tokenizers are files that the repository does not hold.
void require_vocabulary(const JsonNode& line) {
  const auto vocab = line.at("model").find("vocab_raw");
  const JsonNode arguments = line.at("args");
  if ((vocab && !vocab->is_null()) || arguments.find("--vocab-size") ||
      arguments.find("--padded-vocab-size") || is_bert_cased(line))
    return;
  throw unsaid(line, "vocabulary");
}

void read_vocabulary(const JsonNode& line, MegatronValues& values) {
  if (values.vocab.given() || values.padded_vocab.given()) return;
  values.tokenizer = {};
  const auto vocab = line.at("model").find("vocab_raw");
  if (vocab && !vocab->is_null()) {
    values.vocab = {vocab->count(), vocab->where()};
    return;
  }
  // BertWordPieceTokenizer adds [BOS], [EOS] and the sentinels of T5
  // (training/tokenizer/tokenizer.py).
  const JsonNode arguments = line.at("args");
  const auto sentinels = arguments.find("--vocab-extra-ids");
  values.vocab = {kBertCasedEntries + 2 + (sentinels ? sentinels->count() : 0),
                  arguments.at("--vocab-file").where()};
}

// --no-use-layer-wise-param-layout came with NVIDIA/Megatron-LM 0044db1f20 of 2026-05-21, within
// 0.18: before it there was what it brings back.
void add_layout_of_its_time(const JsonNode& line, const Strategy& s, MegatronLaunch& launch) {
  constexpr std::string_view kOption = "--no-use-layer-wise-param-layout";
  const auto said = [&](auto wanted) { return std::ranges::any_of(launch.words, wanted); };
  if (s.megatron.core < Version{0, 18, 0} ||
      !said([](const MegatronWord& word) { return word.text.ends_with("muon"); }) ||
      said([&](const MegatronWord& word) { return word.text == kOption; }))
    return;
  const std::string date = published_text(line.at("source"), "date");
  if (!date.empty() && date < "2026-05-21")
    launch.words.push_back({std::string(kOption), line.at("source").where()});
}

// A record may hold what Megatron-LM of its time accepted and the reader does not.
MegatronArguments read_arguments(const JsonNode& line, Job& job) {
  require_vocabulary(line);
  MegatronLaunch launch = megatron_launch(line.at("args"), "args");
  launch.script = script_of(line);
  launch.script_where = line.where();
  add_layout_of_its_time(line, job.strategy, launch);
  if (const auto variables = line.find("env_vars"); variables && !variables->is_null())
    read_environment(*variables, launch);
  MegatronArguments arguments = read_megatron(launch);
  read_vocabulary(line, arguments.values);
  apply_megatron(arguments, job);
  // All of tests/functional_tests/test_cases that use Megatron-FSDP log the norm of parameters; a
  // record leaves arguments of logging out.
  if (job.strategy.megatron.fsdp) job.strategy.megatron.log_params_norm = true;
  return arguments;
}

// Rows whose source holds another model's values: at this commit the golden file is one git blob
// (dc393d0dffc7f9a340e9429751f1fca65729d23f) with that of gpt/gpt3_mr_mcore_te_tp1_pp4_vp1_dist_
// optimizer_overlap_grad_reduce_param_gather_overlap_optimizer_dgx_a100_1N8G.
constexpr std::string_view kCopiedAt = "e3ec174fc2";
constexpr auto kCopied = std::to_array<std::string_view>({
    "hybrid_mr_mcore_te_tp1_pp1_cp1_dgx_a100_1N8G/golden_values_lts_dgx_a100.json",
    "hybrid_mr_mcore_te_tp2_pp1_cp1_dgx_a100_1N8G/golden_values_lts_dgx_a100.json",
});

void require_own_values(const JsonNode& line) {
  const auto source = line.find("source");
  if (!source || !source->is_object()) return;
  const std::string file = published_text(*source, "file");
  if (!published_text(*source, "commit").starts_with(kCopiedAt)) return;
  for (std::string_view copied : kCopied)
    if (file.ends_with(copied))
      throw refusal(line, "set aside: the source's values are a copy of a GPT model's");
}

// A run that resumes from a checkpoint of Megatron-FSDP: loading leaves tensors behind.
void require_own_start(const JsonNode& line, const Strategy& s) {
  if (s.megatron.fsdp && published_text(line, "id").ends_with("-2nd"))
    throw refusal(line, "what loading a checkpoint of Megatron-FSDP leaves behind is not modelled");
}

}  // namespace

Job read_megatron_record(const JsonNode& line) {
  require_own_values(line);
  Job job;
  read_gpus(line, job.cluster);
  read_versions(line, job.strategy);
  const MegatronArguments arguments = read_arguments(line, job);
  Strategy& s = job.strategy;
  require_own_start(line, s);
  const int64_t replica = product({s.tp, s.pp, s.cp});
  if (job.cluster.gpus % replica != 0)
    throw refusal(line, "the record's GPUs are no whole number of replicas");
  s.dp = job.cluster.gpus / replica;
  finish_megatron(arguments, job);
  job.model.name = published_text(line.at("model"), "name");
  return job;
}

}  // namespace memplan
