// JSON files that people hand over in place of a model's config.json, told by a key of theirs.
#include <array>

#include "input/hf_config.h"

namespace memplan {
namespace {

struct Sign {
  std::string_view key;
  ForeignFile file;
};

constexpr auto kSigns = std::to_array<Sign>({
    {"peft_type", {"a PEFT adapter_config.json", "give it to --peft, and the base model as MODEL"}},
    {"zero_optimization", {"a DeepSpeed configuration", "give it to --deepspeed"}},
    {"train_micro_batch_size_per_gpu", {"a DeepSpeed configuration", "give it to --deepspeed"}},
    {"train_batch_size", {"a DeepSpeed configuration", "give it to --deepspeed"}},
    {"compute_environment", {"an accelerate configuration", "give it to --fsdp"}},
    {"fsdp_config", {"an accelerate configuration", "give it to --fsdp"}},
    {"fsdp_transformer_layer_cls_to_wrap", {"an FSDP configuration", "give it to --fsdp"}},
    {"weight_map", {"an index of weight files", "give it to --weights"}},
    {"_diffusers_version", {"a diffusers configuration", "memplan plans language models"}},
    {"_class_name", {"a diffusers configuration", "memplan plans language models"}},
    {"added_tokens_decoder", {"a tokenizer_config.json", "the config.json stands beside it"}},
    {"tokenizer_class", {"a tokenizer_config.json", "the config.json stands beside it"}},
    {"added_tokens", {"a tokenizer.json", "the config.json stands beside it"}},
    {"image_processor_type", {"a preprocessor_config.json", "the config.json stands beside it"}},
    {"feature_extractor_type", {"a preprocessor_config.json", "the config.json stands beside it"}},
    {"_from_model_config", {"a generation_config.json", "the config.json stands beside it"}},
    {"do_sample", {"a generation_config.json", "the config.json stands beside it"}},
    {"schema_version", {"a report of memplan", "give it to --request"}},
    {"norm_eps", {"Meta's params.json", "the model's config.json in HuggingFace form is read"}},
    {"__metadata__", {"a safetensors header", "give the file to --weights"}},
    {"global_step", {"a trainer_state.json", "the config.json stands beside it"}},
});

}  // namespace

ForeignFile recognise_foreign(const JsonNode& root) {
  for (const Sign& sign : kSigns)
    if (root.find(sign.key)) return sign.file;
  return {};
}

}  // namespace memplan
