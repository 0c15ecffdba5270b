#include "input/published_sources.h"

#include <algorithm>

#include "base/text.h"
#include "input/case_fields.h"
#include "input/peft_config.h"
#include "input/published_fields.h"
#include "input/published_megatron.h"
#include "input/published_simumax.h"
#include "input/published_torchtitan.h"
#include "input/published_torchtune.h"

namespace memplan {
namespace {

constexpr double kGB = 1e9;
constexpr double kGiBytes = 0x1p30;

Error refusal(const JsonNode& node, std::string problem) {
  return node.error(std::move(problem), "", ErrorKind::not_modelled);
}

// What every single-GPU record says.
Job one_gpu_job(const JsonNode& line, Framework framework) {
  require_one_gpu(line);
  Job job;
  job.model = published_model(line);
  Strategy& s = job.strategy;
  s.framework = framework;
  s.precision = published_precision(line);
  s.quantization = published_quantization(line);
  s.optimizer = published_optimizer(line);
  s.recompute = published_recompute(line);
  s.micro_batch = published_micro_batch(line);
  s.global_batch = s.micro_batch;
  s.attention = AttentionKind::sdpa;
  published_versions(line, s);
  place_on_any_gpu(job);
  return job;
}

std::optional<JsonNode> peft_of(const JsonNode& line) {
  auto peft = line.find("peft");
  if (peft && (peft->is_null() || peft->keys().empty())) peft.reset();
  return peft;
}

void read_metamath_peft(const JsonNode& line, Strategy& s) {
  if (const auto peft = peft_of(line)) {
    const JsonNode type = peft->at("peft_type");
    s.peft = read_peft_method(*peft, type.text(), type);
  }
  // create_lorafa_optimizer freezes every A; its step goes parameter by parameter.
  if (published_text(line, "optimizer") == "lora-fa") {
    s.peft.number(PeftNumber::frozen_a) = 1;
    s.optimizer_impl = OptimizerImpl::forloop;
  }
  published_versions(line, s);
}

Job metamath_model(const JsonNode& line) {
  Job job;
  job.model = published_model(line);
  read_metamath_peft(line, job.strategy);
  return job;
}

// peft/method_comparison/MetaMathQA/run.py: batches padded to their longest sample, at most
// max_seq_length (model.seq_max); grad_norm_clip 1.0 of default_training_params.json; torch.optim's
// own choice of AdamW (utils.py get_optimizer_and_scheduler).
Job read_metamath(const JsonNode& line) {
  Job job = one_gpu_job(line, Framework::huggingface);
  Strategy& s = job.strategy;
  s.sequence = published_sequence(line, "seq_max");
  s.padding_mask = true;
  s.clip_gradients = true;
  if (s.optimizer == OptimizerKind::adamw) s.optimizer_impl = OptimizerImpl::foreach_;
  s.keep_outputs = true;
  s.compile = published_flag(line, "compile");
  read_metamath_peft(line, s);
  return job;
}

// LoRA as repositories with own code describe it: {method, rank, alpha, dropout, targets}.
// `names`: the words for a target, and the module it is in transformers.
struct TargetName {
  std::string_view word, module;
};
PeftSpec described_lora(const JsonNode& peft, std::span<const TargetName> names) {
  PeftSpec out;
  out.kind = PeftKind::lora;
  const auto rank = peft.find("rank");
  if (!rank || rank->is_text()) throw unsaid(peft, "LoRA rank");
  out.rank = rank->count();
  if (const auto alpha = peft.find("alpha")) out.alpha = alpha->number();
  if (const auto dropout = peft.find("dropout")) out.dropout = dropout->probability();
  const auto targets = peft.find("targets");
  if (!targets || targets->is_null()) throw unsaid(peft, "LoRA targets");
  const std::string list = targets->text();
  for (std::string_view word : split(list, ',')) {
    const auto known = std::ranges::find(names, word, &TargetName::word);
    if (known == names.end())
      throw refusal(*targets, "LoRA targets '" + printable(targets->text()) + "' are not known");
    out.targets.emplace_back(known->module);
  }
  return out;
}

constexpr auto kLitgptTargets = std::to_array<TargetName>(
    {{"query", "query"}, {"key", "key"}, {"value", "value"}, {"projection", "projection"}});

// litgpt/lora.py, adapter.py and adapter_v2.py.
PeftSpec litgpt_peft(const JsonNode& peft) {
  const JsonNode method = peft.at("method");
  const std::string name = method.text().substr(0, method.text().find('+'));  // "lora+quant"
  if (name == "adapter") return make_peft(PeftKind::litgpt_adapter);
  if (name == "adapter_v2") return make_peft(PeftKind::litgpt_adapter_v2);
  if (name != "lora")
    throw refusal(method, "litgpt's " + printable(method.text()) + " is not modelled");
  PeftSpec out = described_lora(peft, kLitgptTargets);
  out.kind = PeftKind::litgpt_lora;
  return out;
}

Job litgpt_model(const JsonNode& line) {
  Job job;
  job.model = published_model(line);
  if (const auto peft = peft_of(line)) job.strategy.peft = litgpt_peft(*peft);
  return job;
}

// The scripts' peak is that of the first micro-batch, which is given the longest sample.
Job read_litgpt(const JsonNode& line) {
  Job job = one_gpu_job(line, Framework::litgpt);
  job.model.implementation = Implementation::litgpt;
  Strategy& s = job.strategy;
  s.sequence = published_sequence(line);
  s.keep_outputs = true;
  if (const auto peft = peft_of(line)) s.peft = litgpt_peft(*peft);
  return job;
}

// LOMO's Table 1: with an fp32 master copy it is the accounting of mixed-precision papers; LOMO
// itself is plain PyTorch in fp16. Its repository pins no version: these were the newest when the
// paper came out, on 16 June 2023. Its training loop holds the model's outputs (lomo_trainer.py).
Job read_lomo(const JsonNode& line) {
  if (const std::string framework = published_text(line, "framework");
      framework.find("LOMO") == framework.npos)
    throw refusal(line, "framework '" + printable(framework) + "' is not modelled yet");
  Job job = one_gpu_job(line, Framework::huggingface);
  Strategy& s = job.strategy;
  s.sequence = published_sequence(line);
  s.torch = {2, 0, 1};
  s.transformers = {4, 30, 2};
  s.keep_outputs = true;
  if (s.precision.name.starts_with("mixed") && s.optimizer == OptimizerKind::lomo)
    s.precision = parse_precision("fp16", line.where());
  if (s.precision.master) s.framework = Framework::textbook;
  s.attention =
      published_flag(line, "flash_attention") ? AttentionKind::flash : AttentionKind::unfused;
  return job;
}

constexpr std::string_view kAverageLength = "the batches' average length is not published";
constexpr std::string_view kNoMetric = "the record does not say which memory figure it is";

using enum Answered;

constexpr auto kMetamathFigures = std::to_array<PublishedFigure>({
    {"trainable_params", "trainable_params", 1, by_size},
    {"total_params", "total_params", 1, by_size},
    {"peak_reserved_gib", "reserved", kGiBytes},
    {"allocated_after_step_avg_gib", "after_step", kGiBytes, by_plan, kAverageLength},
});
constexpr auto kLitgptFigures = std::to_array<PublishedFigure>({
    {"trainable_params", "trainable_params", 1, by_size},
    {"peak_allocated_gb", "allocated", kGB},
});
constexpr auto kTorchtuneFigures = std::to_array<PublishedFigure>({
    {"peak_active_gib", "active", kGiBytes},
    {"peak_reserved_gb", "reserved", kGB},
    {"peak_reserved_gib", "reserved", kGiBytes},
    {"peak_memory_gib", "device", kGiBytes, by_plan, kNoMetric},
    {"peak_memory_gb", "device", kGB, by_plan, kNoMetric},
    {"allocated_gb", "initial", kGB, by_step},
    {"allocated_gib", "initial", kGiBytes, by_step},
});
constexpr auto kTorchtitanFigures = std::to_array<PublishedFigure>({
    {"peak_active_gib", "active", kGiBytes},
    {"peak_reserved_gib", "reserved", kGiBytes},
});
// Printed as GB: 6.74e9 parameters of 2 bytes are 12.55 GiB. States as papers count them, with the
// fp32 master copy; activations as the PyTorch and transformers of June 2023 kept them.
constexpr auto kLomoFigures = std::to_array<PublishedFigure>({
    {"params_gb", "weights", kGiBytes},
    {"grads_gb", "gradients", kGiBytes, by_step},
    {"optimizer_gb", "optimizer", kGiBytes},
    {"activations_gb", "activations", kGiBytes, by_step},
    {"peak_allocated_gb", "allocated", kGiBytes},
});

// What training.py logs, which the last rank does: of the last pipeline stage.
constexpr auto kMegatronFigures = std::to_array<PublishedFigure>({
    {"allocated_after_step_gib", "last_rank.after_step", kGiBytes},
    {"peak_allocated_gib", "last_rank.allocated", kGiBytes},
});

// Lists of all ranks' figures.
constexpr auto kSimumaxFigures = std::to_array<PublishedFigure>({
    {"peak_allocated_by_rank_gib", "rank.allocated", kGiBytes},
    {"peak_reserved_by_rank_gib", "rank.reserved", kGiBytes},
});

constexpr auto kSources = std::to_array<PublishedSource>({
    {"huggingface/peft", "method_comparison/MetaMathQA", kMetamathFigures, read_metamath,
     metamath_model},
    {"Lightning-AI/litgpt", "", kLitgptFigures, read_litgpt, litgpt_model},
    {"pytorch/torchtune", "", kTorchtuneFigures, read_torchtune_record},
    {"pytorch/torchtitan", "", kTorchtitanFigures, read_torchtitan_record},
    {"LOMO", "", kLomoFigures, read_lomo},
    {"NVIDIA/Megatron-LM", "", kMegatronFigures, read_megatron_record},
    {"MooreThreads/SimuMax", "", kSimumaxFigures, read_simumax_record},
});

}  // namespace

std::span<const PublishedSource> published_sources() { return kSources; }

}  // namespace memplan
