// Parameter-efficient fine-tuning: what is trained instead of the model's own weights.
//
// Names, defaults and shapes follow peft 0.21.2 (huggingface/peft, src/peft/tuners/).
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace memplan {

/// The release of a library, such as peft, that a fact holds for.
struct Version {
  int major = 0, minor = 0, patch = 0;
  friend auto operator<=>(const Version&, const Version&) = default;
};

enum class PeftKind : uint8_t {
  none,
  lora,          ///< Hu et al., arXiv 2106.09685
  houlsby,       ///< two adapters a layer: after attention and after the MLP (arXiv 1902.00751)
  pfeiffer,      ///< one adapter a layer, after the MLP (arXiv 2005.00247)
  adapter_drop,  ///< Pfeiffer's, without the first layers (arXiv 2010.11918)
  lin,           ///< "Adapter-L": one after the MLP with its own LayerNorm (arXiv 2004.03829)
  // peft's own methods, in the order of its PeftType
  prompt_tuning,
  multitask_prompt_tuning,
  p_tuning,
  prefix_tuning,
  adalora,
  boft,
  adaption_prompt,
  ia3,
  beft,
  lily,
  loha,
  lokr,
  oft,
  poly,
  ln_tuning,
  vera,
  pvera,
  fourierft,
  glora,
  hra,
  vblora,
  unilora,
  cpt,
  miss,
  bone,
  randlora,
  road,
  trainable_tokens,
  hira,
  shira,
  c3a,
  waveft,
  osf,
  delora,
  gralora,
  cartridge,
  tinylora,
  psoft,
  peanut,
  supertuning,
  deft,
  // litgpt's (Lightning-AI/litgpt, litgpt/lora.py, adapter.py, adapter_v2.py)
  litgpt_lora,
  litgpt_adapter,
  litgpt_adapter_v2,
  torchtune_lora,  ///< torchtune/modules/peft/lora.py
  bridge_lora,     ///< NVIDIA-NeMo/Megatron-Bridge, src/megatron/bridge/peft/lora.py
};

/// A whole number that only some methods have. Flags are 0 or 1, choices count the words of their
/// PeftSetting.
enum class PeftNumber : uint8_t {
  dora,
  adapter_bias,  ///< lora_bias: B has a bias
  frozen_a,      ///< LoRA-FA: A is not trained (arXiv 2308.03303)
  block_size,
  block_count,
  butterfly_factors,
  share_blocks,
  neumann,  ///< OFT: the rotation by a series, not by solving a system
  neumann_terms,
  top,                ///< VB-LoRA's topk
  inverse_transform,  ///< WaveFT's use_idwt
  frequencies,
  path_ab,
  path_c,
  path_de,
  hybrid_rank,
  parts,  ///< GraLoRA's k
  stride,
  count_b,
  decompose_both,
  decompose_factor,
  orthogonal,
  magnitude_a,
  magnitude_b,
  variant,
  vectors,
  vector_length,
  projections,  ///< TinyLoRA's u
  tasks,
  skills,
  splits,
  depth,
  effective_rank,
  one_matrix,  ///< DEFT's para
  tokens,      ///< virtual or trainable
  frozen_tokens,
  token_width,
  submodules,
  layer_count,
  heads,
  encoder_width,
  encoder_layers,
  encoder_form,
  projected,
  adapted_layers,
  count_,
};
inline constexpr size_t kPeftNumbers = static_cast<size_t>(PeftNumber::count_);
inline constexpr int64_t kUnset = -1;  ///< a PeftNumber that the model decides

/// Which of the model's own biases are trained beside the adapters.
enum class PeftBias : uint8_t { none, all, adapted };
inline constexpr std::array<std::string_view, 3> kPeftBiasNames{"none", "all", "adapted"};

/// LoRA with block-diagonal matrices ("use_bdlora"): parts of module names.
struct BlockDiagonal {
  int64_t blocks = 0;  ///< 0: off
  std::vector<std::string> a, b;
};

/// A LoRA target with one of these is a regular expression.
inline constexpr std::string_view kPatternCharacters = "*+?[](){}|\\^$";
/// The longest such pattern: compiling one recurses.
inline constexpr size_t kMaxPattern = 1000;

struct PeftSpec {
  PeftKind kind = PeftKind::none;
  Version version{0, 21, 2};  ///< peft's own
  int64_t rank = 8;           ///< r
  double alpha = 16;
  double dropout = 0;
  bool merged = false;  ///< LoRA folded into the weights: forward-only jobs
  /// Module-name endings, "all-linear", or a regular expression (kPatternCharacters) alone.
  std::vector<std::string> targets = {};
  std::vector<std::string> excluded = {};       ///< as targets, never "all-linear"
  std::vector<std::string> feedforward = {};    ///< IA3: targets whose input is scaled
  std::vector<int64_t> layers = {};             ///< indices that are adapted; empty: all
  std::vector<std::string> layer_pattern = {};  ///< names of the list those indices count
  /// Name ending -> rank, or what the method sizes by: block size, number of frequencies.
  std::vector<std::pair<std::string, int64_t>> rank_pattern = {};
  std::vector<std::string> modules_to_save = {};  ///< trained whole, as a copy
  PeftBias bias = PeftBias::none;
  BlockDiagonal block_diagonal = {};
  double fraction = 0;  ///< SuperTuning's sparsity, TinyLoRA's weight tying
  std::array<int64_t, kPeftNumbers> numbers{};
  int64_t bottleneck = 64;     ///< adapter m
  int64_t dropped_layers = 0;  ///< AdapterDrop: first layers without an adapter

  int64_t number(PeftNumber which) const { return numbers[static_cast<size_t>(which)]; }
  int64_t& number(PeftNumber which) { return numbers[static_cast<size_t>(which)]; }
};

/// A PeftNumber of a method: its name in adapter_config.json and in the option, and its range.
struct PeftSetting {
  PeftKind kind;
  PeftNumber number;
  std::string_view key;
  int64_t fallback;  ///< peft's default; kUnset: the model decides
  int64_t least, most;
  std::string_view words = {};  ///< "no|yes" for a flag: the number counts them
};

/// What a method is called and what every method may have.
struct PeftMethodRow {
  PeftKind kind;
  std::string_view type = {};      ///< peft_type; empty: not peft's
  std::string_view rank_key = {};  ///< empty: it has no rank
  int64_t rank = 0;                ///< default
  std::string_view alpha_key = {};
  double alpha = 0;
  std::string_view dropout_key = {};
  std::string_view pattern_key = {};   ///< of PeftSpec::rank_pattern
  std::string_view fraction_key = {};  ///< of PeftSpec::fraction
  double fraction = 0;
  bool targets = true;  ///< it sits on modules that target_modules name
};

const std::vector<PeftSetting>& peft_settings();
const std::vector<PeftMethodRow>& peft_methods();
const PeftMethodRow& peft_method(PeftKind kind);
/// A method with peft's defaults.
PeftSpec make_peft(PeftKind kind);

}  // namespace memplan
