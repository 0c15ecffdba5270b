// What peft adapts where target_modules is not given: TRANSFORMERS_MODELS_TO_…_MODULES_MAPPING of
// peft 0.21.2, utils/constants.py. Families that memplan has; the others have no row there either.
#include <array>

#include "base/text.h"
#include "input/peft_config.h"
#include "memplan/error.h"

namespace memplan {
namespace {

struct TargetsRow {
  std::string_view family;
  std::string_view targets;  // joined by '+'
};

constexpr auto kLora = std::to_array<TargetsRow>({
    {"t5", "q+v"},
    {"gpt2", "c_attn"},
    {"bloom", "query_key_value"},
    {"opt", "q_proj+v_proj"},
    {"gptj", "q_proj+v_proj"},
    {"gpt_neox", "query_key_value"},
    {"bert", "query+value"},
    {"roberta", "query+value"},
    {"deberta-v2", "query_proj+value_proj"},
    {"llama", "q_proj+v_proj"},
    {"falcon", "query_key_value"},
    {"mistral", "q_proj+v_proj"},
    {"mixtral", "q_proj+v_proj"},
    {"stablelm", "q_proj+v_proj"},
    {"phi", "q_proj+v_proj+fc1+fc2"},
    {"gemma", "q_proj+v_proj"},
    {"gemma2", "q_proj+v_proj"},
    {"gemma3_text", "q_proj+v_proj"},
    {"qwen2", "q_proj+v_proj"},
    {"qwen3", "q_proj+v_proj"},
});
constexpr auto kIa3 = std::to_array<TargetsRow>({
    {"t5", "k+v+wo"},
    {"gpt2", "c_attn+mlp.c_proj"},
    {"bloom", "query_key_value+mlp.dense_4h_to_h"},
    {"roberta", "key+value+output.dense"},
    {"opt", "q_proj+k_proj+fc2"},
    {"gptj", "q_proj+v_proj+fc_out"},
    {"gpt_neox", "query_key_value+dense_4h_to_h"},
    {"llama", "k_proj+v_proj+down_proj"},
    {"mistral", "k_proj+v_proj+down_proj"},
    {"mixtral", "k_proj+v_proj+w2"},
    {"bert", "key+value+output.dense"},
    {"deberta-v2", "key_proj+value_proj+output.dense"},
    {"falcon", "query_key_value+dense_4h_to_h"},
    {"phi", "q_proj+v_proj+fc2"},
    {"gemma", "q_proj+v_proj+down_proj"},
    {"gemma2", "q_proj+v_proj+down_proj"},
    {"gemma3_text", "q_proj+v_proj+down_proj"},
    {"qwen2", "q_proj+v_proj+down_proj"},
    {"qwen3", "q_proj+v_proj+down_proj"},
});
constexpr auto kFeedforward = std::to_array<TargetsRow>({
    {"t5", "wo"},
    {"gpt2", "mlp.c_proj"},
    {"bloom", "mlp.dense_4h_to_h"},
    {"roberta", "output.dense"},
    {"opt", "fc2"},
    {"gptj", "fc_out"},
    {"gpt_neox", "dense_4h_to_h"},
    {"llama", "down_proj"},
    {"mistral", "down_proj"},
    {"mixtral", "w2"},
    {"bert", "output.dense"},
    {"deberta-v2", "output.dense"},
    {"falcon", "dense_4h_to_h"},
    {"phi", "fc2"},
    {"gemma", "down_proj"},
    {"gemma2", "down_proj"},
    {"gemma3_text", "down_proj"},
    {"qwen2", "down_proj"},
    {"qwen3", "down_proj"},
});
constexpr auto kNorms = std::to_array<TargetsRow>({
    {"llama", "input_layernorm+post_attention_layernorm+norm"},
    {"bloom", "input_layernorm+post_attention_layernorm+ln_f"},
    {"t5", "layer_norm+final_layer_norm"},
    {"gpt2", "ln_1+ln_2+ln_f"},
    {"gptj", "ln_1+ln_f"},
    {"falcon", "input_layernorm+post_attention_layernorm+ln_f"},
    {"mistral", "input_layernorm+post_attention_layernorm+norm"},
    {"phi", "input_layernorm+final_layernorm"},
    {"gemma", "input_layernorm+post_attention_layernorm+norm"},
    {"gemma2",
     "input_layernorm+post_attention_layernorm+pre_feedforward_layernorm+"
     "post_feedforward_layernorm+norm"},
    {"gemma3_text",
     "input_layernorm+post_attention_layernorm+pre_feedforward_layernorm+"
     "post_feedforward_layernorm+norm"},
    {"qwen2", "post_attention_layernorm"},
    {"qwen3", "post_attention_layernorm"},
});
constexpr auto kBeft = std::to_array<TargetsRow>({
    {"t5", "v"},
    {"roberta", "value"},
    {"opt", "v_proj"},
    {"gptj", "v_proj"},
    {"llama", "v_proj"},
    {"mistral", "v_proj"},
    {"mixtral", "v_proj"},
    {"bert", "value"},
    {"deberta-v2", "value_proj"},
    {"phi", "v_proj"},
    {"gemma", "v_proj"},
    {"gemma2", "v_proj"},
    {"gemma3_text", "v_proj"},
    {"qwen2", "v_proj"},
    {"qwen3", "v_proj"},
});
// AdaLoRA's and VB-LoRA's
constexpr auto kAdalora = std::to_array<TargetsRow>({
    {"t5", "q+k+v+o+wi+wo"},
    {"gpt2", "c_attn"},
    {"bloom", "query_key_value"},
    {"opt", "q_proj+k_proj+v_proj+out_proj+fc1+fc2"},
    {"gptj", "q_proj+v_proj"},
    {"gpt_neox", "query_key_value"},
    {"llama", "q_proj+v_proj"},
    {"bert", "query+value"},
    {"roberta", "query+key+value+dense"},
    {"deberta-v2", "query_proj+key_proj+value_proj+dense"},
    {"gemma", "q_proj+v_proj"},
    {"gemma2", "q_proj+v_proj"},
    {"gemma3_text", "q_proj+v_proj"},
    {"qwen2", "q_proj+v_proj"},
    {"qwen3", "q_proj+v_proj"},
});
constexpr std::string_view kSeven = "q_proj+k_proj+v_proj+o_proj+gate_proj+down_proj+up_proj";
constexpr auto kOsf = std::to_array<TargetsRow>({
    {"llama", kSeven},
    {"mistral", kSeven},
    {"mixtral", kSeven},
    {"gemma", kSeven},
    {"gemma2", kSeven},
    {"gemma3_text", kSeven},
    {"qwen2", kSeven},
    {"qwen3", kSeven},
    {"phi", kSeven},
    {"gpt2", "c_attn+c_proj"},
    {"bloom", "query_key_value+dense_4h_to_h"},
    {"opt", "q_proj+k_proj+v_proj+out_proj+fc1+fc2"},
    {"gptj", "q_proj+k_proj+v_proj+out_proj+fc_in+fc_out"},
    {"gpt_neox", "query_key_value+dense_4h_to_h"},
    {"falcon", "query_key_value+dense_4h_to_h"},
});

std::string_view find_row(const auto& table, std::string_view family) {
  for (const TargetsRow& row : table)
    if (row.family == family) return row.targets;
  return {};
}

// Where a method's table differs from LoRA's in single rows.
struct Exception {
  PeftKind kind;
  std::string_view family, targets;
};
constexpr auto kExceptions = std::to_array<Exception>({
    {PeftKind::fourierft, "gpt2", "mlp.c_proj"},
    {PeftKind::c3a, "gpt2", "mlp.c_proj"},
    {PeftKind::waveft, "gpt2", "mlp.c_proj"},
    {PeftKind::shira, "phi", "q_proj+v_proj"},
    {PeftKind::vera, "phi", "q_proj+v_proj"},
    {PeftKind::pvera, "phi", "q_proj+v_proj"},
});

std::string_view targets_of(PeftKind kind, std::string_view family) {
  for (const Exception& row : kExceptions)
    if (row.kind == kind && row.family == family) return row.targets;
  switch (kind) {
    case PeftKind::ia3:
      return find_row(kIa3, family);
    case PeftKind::ln_tuning:
      return find_row(kNorms, family);
    case PeftKind::beft:
      return find_row(kBeft, family);
    case PeftKind::adalora:
    case PeftKind::vblora:
      return find_row(kAdalora, family);
    case PeftKind::osf:
      return find_row(kOsf, family);
    case PeftKind::trainable_tokens:
      return "embed_tokens";
    case PeftKind::litgpt_lora:
      return "query+value";
    case PeftKind::torchtune_lora:  // recipes/configs/llama3_2/3B_lora_single_device.yaml, 0.4
      return "q_proj+v_proj+output_proj+w1+w2+w3";
    case PeftKind::bridge_lora:  // peft/lora.py, target_modules
      return "linear_qkv+linear_proj+linear_fc1+linear_fc2";
    default:
      return find_row(kLora, family);
  }
}

std::vector<std::string> list(std::string_view joined) {
  std::vector<std::string> names;
  if (joined.empty()) return names;
  for (std::string_view name : split(joined, '+')) names.emplace_back(name);
  return names;
}

}  // namespace

bool fill_default_targets(PeftSpec& peft, std::string_view family, std::string_view where) {
  if (!peft_method(peft.kind).targets || peft.kind == PeftKind::litgpt_adapter_v2) return false;
  if (!peft.targets.empty()) return false;
  const std::string_view joined = targets_of(peft.kind, family);
  if (joined.empty())
    throw Error(ErrorKind::bad_input, std::string(where),
                "peft has no default target modules for '" + printable(family) + "'",
                "name them: " + std::string(to_string(peft.kind)) + ":targets=q_proj+v_proj");
  peft.targets = list(joined);
  if (peft.kind == PeftKind::ia3 && peft.feedforward.empty())
    peft.feedforward = list(find_row(kFeedforward, family));
  return true;
}

}  // namespace memplan
