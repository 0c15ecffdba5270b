// Methods that train vectors, blocks or single entries.
#include <algorithm>

#include "ops/peft_method.h"

namespace memplan::peft_parameters {

void ia3(PeftSite& s) {
  const auto& names = s.peft.feedforward;
  const bool feedforward = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return names_module(name, s.graph().context.prefix + s.module.name);
  });
  if (feedforward)
    s.add("ia3_l.default", {1, s.in});
  else
    s.add("ia3_l.default", {s.out, 1});
}

void beft(PeftSite& s) { s.add("beft_bias.default", {1, s.out}); }

// The module again, in the model's own type.
void ln_tuning(PeftSite& s) {
  const std::string prefix = "ln_tuning_layers.default.";
  switch (s.module.form) {
    case ModuleForm::norm:
      s.add(prefix + "weight", {s.out}).dtype.reset();
      break;
    case ModuleForm::linear:
    case ModuleForm::head:
      s.add(prefix + "weight", {s.out, s.in}).dtype.reset();
      break;
    case ModuleForm::conv1d:
    case ModuleForm::embedding:
      s.add(prefix + "weight", {s.in, s.out}).dtype.reset();
      break;
  }
  if (s.module.bias) s.add(prefix + "bias", {s.out}).dtype.reset();
}

void trainable_tokens(PeftSite& s) {
  const int64_t tokens = s.number(PeftNumber::tokens);
  const int64_t rows = s.module.form == ModuleForm::embedding ? s.in : s.out;
  const int64_t width = s.module.form == ModuleForm::embedding ? s.out : s.in;
  if (tokens > rows) s.refuse("has fewer rows than trained tokens");
  s.add("trainable_tokens_delta.default", {tokens, width});
  s.add_buffer("trainable_tokens_original.default", {tokens, width});
}

void miss(PeftSite& s) {
  if (s.rank > s.in) s.refuse("is narrower than r " + std::to_string(s.rank));
  if (s.number(PeftNumber::variant) == 2) {  // init_weights "bat"
    s.divided(s.in, s.rank, "r");
    s.add("miss_block.default", {s.divided(s.out, s.rank, "r"), s.rank, s.rank});
  } else {
    s.add("miss_block.default", {s.rank, s.out});
  }
}

void bone(PeftSite& s) { s.add("bone_block.default", {s.rank, s.out}); }

void c3a(PeftSite& s) {
  const int64_t block = s.rank;
  s.add("c3a_kernel.default",
        {s.divided(s.out, block, "block_size"), s.divided(s.in, block, "block_size"), block});
}

// Which coefficients: (row, column) of each, a plain attribute of the module.
void fourierft(PeftSite& s) {
  if (s.rank > checked_mul(s.in, s.out)) s.refuse("has fewer entries than n_frequency");
  s.add("fourierft_spectrum.default", {s.rank});
  s.add_attribute("indices.default", {2, s.rank}, DType::i64);
}

void waveft(PeftSite& s) {
  if (s.rank > checked_mul(s.in, s.out)) s.refuse("has fewer entries than n_frequency");
  s.add("waveft_spectrum.default", {s.rank});
  s.add_attribute("waveft_indices.default", {2, s.rank}, DType::i64);
}

// As many entries as LoRA of that rank would have.
void shira(PeftSite& s) {
  const int64_t entries = checked_mul(s.rank, checked_add(s.in, s.out));
  if (entries > checked_mul(s.in, s.out))
    s.refuse("has fewer entries than r " + std::to_string(s.rank) + " asks for");
  s.add("shira_weight.default", {entries});
  s.add_attribute("shira_indices.default", {2, entries}, DType::i32);
}

void supertuning(PeftSite& s) {
  // int(num_params * (1 - sparsity)): Python's doubles
  const auto entries =
      static_cast<int64_t>(static_cast<double>(checked_mul(s.in, s.out)) * (1 - s.peft.fraction));
  if (entries < 1) s.refuse("has no entry left at this sparsity", "lower it");
  s.add("supertuning_values.default", {entries});
  s.add_buffer("supertuning_indices.default", {entries}, DType::i32);
  if (s.rank == 0) return;
  s.add("supertuning_lora_A.default.weight", {s.rank, s.in});
  s.add("supertuning_lora_B.default.weight", {s.out, s.rank});
}

// litgpt/adapter_v2.py, AdapterV2Linear
void litgpt_adapter_v2(PeftSite& s) {
  s.add("adapter_bias", {s.out}).dtype.reset();
  s.add("adapter_scale", {s.out}).dtype.reset();
}

}  // namespace memplan::peft_parameters
