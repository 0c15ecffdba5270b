#include "input/published_torchtune.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "input/case_fields.h"
#include "input/published_fields.h"

namespace memplan {
namespace {

Error refusal(const JsonNode& node, std::string problem) {
  return node.error(std::move(problem), "", ErrorKind::not_modelled);
}

// What torchtune/models/*/_model_builders.py and recipes/configs/*/*_lora_single_device.yaml,
// 0.4.0, say of a model.
struct ModelRow {
  std::string_view name;  ///< case folded
  int64_t max_seq_len;
  bool llama3_rope;
  int64_t lora_rank;
};
constexpr auto kModels = std::to_array<ModelRow>({
    {"llama-2-7b", 4096, false, 8},
    {"llama-3.1-8b", 131072, true, 8},
    {"llama-3.2-3b", 131072, true, 64},
});

const ModelRow& row_of(const JsonNode& line, const ModelSpec& model) {
  const auto row = std::ranges::find(kModels, fold_case(model.name), &ModelRow::name);
  if (row == kModels.end())
    throw refusal(line, "torchtune's recipe of '" + printable(model.name) + "' is not known");
  return *row;
}

ModelSpec model_of(const JsonNode& line) {
  ModelSpec model = published_model(line);
  const ModelRow& row = row_of(line, model);
  model.implementation = Implementation::torchtune;
  model.max_positions = row.max_seq_len;
  if (row.llama3_rope) model.extra.emplace_back("llama3_rope", 1);
  return model;
}

// Left away, or "config default 8".
std::optional<JsonNode> said(const JsonNode& peft, std::string_view key) {
  auto value = peft.find(key);
  if (value && (value->is_null() ||
                (value->is_text() && value->text().find("default") != std::string::npos)))
    value.reset();
  return value;
}

PeftSpec lora_of(const JsonNode& peft, const ModelRow& row) {
  constexpr std::array<std::string_view, 6> kRecipe{"q_proj", "v_proj", "output_proj",
                                                    "w1",     "w2",     "w3"};
  PeftSpec out = make_peft(PeftKind::torchtune_lora);
  const auto rank = said(peft, "rank");
  out.rank = rank ? rank->count() : row.lora_rank;
  const auto targets = said(peft, "targets");
  if (!targets) {
    out.targets.assign(kRecipe.begin(), kRecipe.end());
    return out;
  }
  const std::string list = targets->text();
  for (std::string_view word : split(list, ',')) {
    if (word != "k_proj" && std::ranges::find(kRecipe, word) == kRecipe.end())
      throw refusal(*targets, "LoRA targets '" + printable(list) + "' are not known");
    out.targets.emplace_back(word);
  }
  return out;
}

// The stable torch of a month's torchtune.
Version torch_of(const JsonNode& line) {
  const std::string release = published_text(line, "framework_version");
  return release.ends_with("Sep 2024") ? Version{2, 4, 1} : Version{2, 5, 1};
}

}  // namespace

Job read_torchtune_record(const JsonNode& line) {
  require_one_gpu(line);
  Job job;
  job.model = model_of(line);
  Strategy& s = job.strategy;
  s.framework = Framework::torchtune;
  s.precision = published_precision(line);
  s.attention = AttentionKind::sdpa;
  s.torch = torch_of(line);
  const auto peft = line.find("peft");
  if (peft && !peft->is_null()) s.peft = lora_of(*peft, row_of(line, job.model));
  place_on_any_gpu(job);
  // Weights alone, before the first step.
  if (published_text(line, "memory_figure").find("init") != std::string::npos) {
    s.sequence = 1;
    return job;
  }
  s.sequence = published_sequence(line);
  s.micro_batch = s.global_batch = published_micro_batch(line);
  if (s.peft.kind != PeftKind::none && peft->at("method").text().starts_with("qlora"))
    throw refusal(line, "torchtune's NF4 weights are not modelled");
  s.optimizer = published_optimizer(line);
  // 92 of the 95 configs of 0.4.0 that name torch.optim.AdamW set "fused: True".
  if (s.optimizer == OptimizerKind::adamw) s.optimizer_impl = OptimizerImpl::fused;
  s.optimizer_in_backward = published_flag(line, "optimizer_in_bwd");
  s.recompute = published_recompute(line);
  s.compile = published_flag(line, "compile");
  s.packed = published_flag(line, "packed");
  s.offload_activations = published_flag(line, "act_offload");
  if (published_flag(line, "chunked_ce")) s.loss = LossKind::torchtune_chunked;
  return job;
}

}  // namespace memplan
