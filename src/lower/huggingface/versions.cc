#include "lower/huggingface/versions.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "lower/family_table.h"
#include "memplan/error.h"

namespace memplan::hf {
namespace {

// Seen in 5.0.0, gone in 5.3.0.
constexpr Version kSince5{5, 0, 0}, kSince53{5, 3, 0};

// Read in each release's models/FAMILY/modeling_FAMILY.py.
struct FamilyReleases {
  std::string_view family;
  Version modelled;             ///< the first whose forward is told by this table
  Version attention_interface;  ///< ALL_ATTENTION_FUNCTIONS, in place of a class by implementation
  Version masking_utils;        ///< create_causal_mask, in place of _update_causal_mask
  CausalLossForm first_loss;
  Version loss_function;  ///< self.loss_function, in place of a loss of its own
  Version model_rotary;   ///< the model computes cos and sin
  Version one_rotary;     ///< and its layers hold no rotary embedding
  Version no_causal_buffers = {};
};

constexpr auto kWidened = CausalLossForm::widened;
constexpr auto kShifted = CausalLossForm::shifted;
constexpr auto kInside = CausalLossForm::widened_inside;
constexpr Version v(int minor) { return {4, minor, 0}; }
constexpr Version kNone{};
constexpr FamilyReleases kFamilies[] = {
    {"llama", v(44), v(48), v(53), kWidened, v(46), v(43), v(48)},
    {"mistral", v(44), v(48), v(53), kWidened, v(48), v(48), v(48)},
    {"qwen2", v(45), v(48), v(53), kWidened, v(46), v(45), v(48)},
    {"qwen3", v(51), v(51), v(53), kInside, v(51), v(51), v(51)},
    {"gemma", v(44), v(48), v(53), kWidened, v(46), v(48), v(48)},
    {"gemma2", v(53), v(48), v(53), kWidened, v(46), v(48), v(48)},
    {"gemma3_text", v(53), v(50), v(53), kInside, v(50), v(50), v(50)},
    {"phi3", v(44), v(48), v(53), kWidened, v(46), v(48), v(48)},
    {"starcoder2", v(45), v(48), v(53), kWidened, v(47), v(45), v(48)},
    {"gpt2", v(44), v(48), v(54), kShifted, v(48), kNone, kNone, kSince53},
    {"gpt_neox", v(45), v(49), v(53), kShifted, v(49), v(45), v(49), v(49)},
    {"opt", v(53), v(52), kSince53, kShifted, v(48), kNone, kNone},
    {"bloom", v(44), kSince53, kSince53, kShifted, v(48), kNone, kNone},
    {"falcon", v(45), kSince53, kSince53, kShifted, v(48), v(45), v(54)},
    {"bert", v(44), kSince5, kSince5, kInside, v(44), kNone, kNone},
};

// All others, as they have been since 5.0.
constexpr FamilyReleases kOthers{{},      kSince5, kSince5, kSince5, kInside,
                                 kSince5, kSince5, kSince5, kSince5};

// The first LlamaForCausalLM, as it was in all of 4.30.
constexpr Version kFirstLlama = v(30), kSecondLlama = v(31);
// ForCausalLMLoss pads the labels (loss/loss_utils.py).
constexpr Version kPaddedLabels{4, 49, 0};
// integrations/sdpa_attention.py: use_gqa_in_sdpa, and no .contiguous() any more.
constexpr Version kGroupedSdpa{4, 54, 0}, kStridedSdpa{4, 56, 0};
// StarCoder2's model.forward called its layers without gradient checkpointing.
constexpr Version kStarcoder2Plain{4, 48, 0}, kStarcoder2Checkpoints{4, 52, 0};
// models/gemma: GemmaTextScaledWordEmbedding, in place of a normalizer in model.forward.
constexpr Version kGemmaScaleBuffer{5, 4, 0};
// torch's scaled_dot_product_attention has enable_gqa.
constexpr Version kEnableGqa{2, 5, 0};

bool first_llama(const Job& job) { return job.strategy.transformers < kSecondLlama; }

const FamilyReleases& releases(const Job& job) {
  const std::string_view family = family_row(job.model).name;
  const auto* found = std::ranges::find(kFamilies, family, &FamilyReleases::family);
  return found == std::end(kFamilies) ? kOthers : *found;
}

std::string text(Version v) {
  return std::to_string(v.major) + "." + std::to_string(v.minor) + "." + std::to_string(v.patch);
}

}  // namespace

CausalLossForm causal_loss_form(const Job& job) {
  const Version version = job.strategy.transformers;
  const FamilyReleases& family = releases(job);
  if (first_llama(job)) return CausalLossForm::shifted;
  if (version < family.loss_function) return family.first_loss;
  return version < kPaddedLabels ? CausalLossForm::widened_inside : CausalLossForm::padded;
}

CausalMaskForm causal_mask_form(const Job& job) {
  if (first_llama(job)) return CausalMaskForm::summed;
  return job.strategy.transformers < releases(job).masking_utils ? CausalMaskForm::filled
                                                                 : CausalMaskForm::compared;
}

SdpaForm sdpa_form(const Job& job) {
  const Version version = job.strategy.transformers;
  const bool interface = !(version < releases(job).attention_interface);
  return {.contiguous = interface && version < kStridedSdpa,
          .grouped = interface && !(version < kGroupedSdpa) && !(job.strategy.torch < kEnableGqa)};
}

RotaryHome rotary_home(const Job& job) {
  const Version version = job.strategy.transformers;
  if (first_llama(job)) return RotaryHome::tables;
  if (version < releases(job).model_rotary) return RotaryHome::layers;
  return version < releases(job).one_rotary ? RotaryHome::layers_and_model : RotaryHome::model;
}

bool clamps_scores(const Job& job) { return first_llama(job); }
bool narrows_norm_last(const Job& job) { return first_llama(job); }
bool checkpoints_reentrantly(const Job& job) { return first_llama(job); }

bool keeps_original_frequencies(const Job& job) { return !(job.strategy.transformers < kSince5); }

bool holds_causal_buffers(const Job& job) {
  return job.strategy.transformers < releases(job).no_causal_buffers;
}

bool holds_masked_bias(const Job& job) {
  return holds_causal_buffers(job) && job.strategy.transformers < kSince5;
}

bool applies_causal_buffers(const Job& job) {
  return job.strategy.attention == AttentionKind::unfused && holds_causal_buffers(job);
}

bool makes_embedding_scale(const Job& job) { return job.strategy.transformers < kGemmaScaleBuffer; }

bool turns_part_of_heads(const Job& job) { return !(job.strategy.transformers < v(49)); }

bool slices_token_types(const Job& job) { return job.strategy.transformers < kSince5; }

namespace {

// What of 4.30 is modelled: LLaMA alone, with all heads, as it was before attention had other
// implementations, and training programs other ways.
bool is_first_llama(const Job& job) {
  const Strategy& s = job.strategy;
  const ModelSpec& m = job.model;
  return first_llama(job) && !(s.transformers < kFirstLlama) && family_row(m).name == "llama" &&
         m.head == ModelHead::causal_lm && m.kv_heads == m.heads &&
         checked_mul(m.heads, m.head_dim) == m.hidden && s.attention == AttentionKind::unfused &&
         s.peft.kind == PeftKind::none && !s.compile && s.quantization.kind == QuantKind::none &&
         s.loss == LossKind::cross_entropy && s.kernels == KernelKind::eager && s.dp == 1;
}

}  // namespace

void require_modelled_release(const Job& job) {
  if (is_first_llama(job)) return;
  const FamilyReleases& family = releases(job);
  const Version version = job.strategy.transformers;
  if (family.family == "starcoder2" && job.strategy.recompute == Recompute::full &&
      !(version < kStarcoder2Plain) && version < kStarcoder2Checkpoints)
    throw Error(ErrorKind::not_modelled, "--recompute full",
                "starcoder2 in transformers " + text(version) + " does not checkpoint its layers",
                "use --recompute none, which is what it does, or --transformers-version " +
                    text(kStarcoder2Checkpoints));
  // What classifies a sequence, and what FlashAttention was given, was each model's own; other
  // programs' kernels, losses and quantized layers, and PEFT beside LoRA, were not traced with
  // older models.
  const Strategy& s = job.strategy;
  const bool plain_peft = s.peft.kind == PeftKind::none || s.peft.kind == PeftKind::lora;
  const bool alone = s.attention == AttentionKind::flash || s.kernels != KernelKind::eager ||
                     s.loss != LossKind::cross_entropy || !plain_peft ||
                     s.quantization.kind != QuantKind::none ||
                     job.model.head == ModelHead::sequence_classification;
  const Version first = std::max(family.modelled, alone ? kSince5 : Version{});
  if (!(version < first)) return;
  throw Error(
      ErrorKind::not_modelled, "--transformers-version",
      "the forward of " + std::string(family_row(job.model).name) + " in transformers " +
          text(version) + " is not modelled",
      "use --transformers-version " + text(first) + " or a later one, or --framework textbook");
}

}  // namespace memplan::hf
