#include <algorithm>
#include <array>
#include <string>

#include "lower/torchtune/torchtune.h"
#include "memplan/error.h"

namespace memplan::torchtune {

namespace {

// What the builders of models/*/_component_builders.py have no argument for.
void require_architecture(const ModelSpec& m) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::not_modelled, "--framework torchtune",
                "torchtune's " + m.family + " has no " + what, "use --framework huggingface");
  };
  const bool qwen = m.family == "qwen2", gemma = m.family == "gemma";
  if (!gemma && checked_mul(m.heads, m.head_dim) != m.hidden) refuse("width of heads of its own");
  if ((m.attention_bias && !qwen) || m.attention_out_bias || m.mlp_bias) refuse("such biases");
  if (m.family == "llama" && m.tie_embeddings && m.extra_or("llama3_rope", 0) == 0)
    refuse("tied embeddings but in Llama 3.2");
}

}  // namespace

void require_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  const auto refuse = [](const std::string& where, const std::string& problem,
                         const std::string& hint) {
    throw Error(ErrorKind::not_modelled, where, problem, hint);
  };
  if (s.peft.kind != PeftKind::none && s.peft.kind != PeftKind::torchtune_lora)
    refuse("--peft", "torchtune has no " + std::string(to_string(s.peft.kind)),
           "use --peft torchtune-lora");
  if (s.dp > 1)
    refuse("--dp", "torchtune shards over several GPUs: what that takes is not modelled",
           "use one GPU");
  if (s.precision.autocast)
    refuse("--precision " + s.precision.name, "torchtune's recipes run nothing under autocast",
           "use bf16 or fp32");
  if (s.quantization.kind != QuantKind::none)
    refuse("--quantization", "torchtune's NF4 weights are not modelled yet", "leave it away");
  if (s.compile && s.offload_activations && s.recompute != Recompute::full)
    refuse("--compile --offload-activations",
           "which tensors compiled layers keep, and so what is offloaded, cannot be told",
           "add --recompute full");
  require_architecture(job.model);
  if (s.attention != AttentionKind::sdpa)
    refuse("--attention",
           "torchtune calls scaled_dot_product_attention, or flex attention by itself",
           "use --attention sdpa");
  if (s.padding_mask)
    refuse("--padding-mask", "torchtune's recipes mask no padding in attention",
           "use --packed for the mask of packed samples");
  if (s.sequence > job.model.max_positions)
    throw Error(ErrorKind::bad_input, "--seq " + std::to_string(s.sequence),
                "torchtune's model takes " + std::to_string(job.model.max_positions) +
                    " tokens at most (max_position_embeddings)",
                "use a shorter sequence");
  for (const std::string& target : s.peft.targets) {
    constexpr std::array<std::string_view, 3> kMlp{"w1", "w2", "w3"};
    const auto named = [&](std::string_view name) {
      return std::ranges::find(s.peft.targets, name) != s.peft.targets.end();
    };
    if (std::ranges::find(kMlp, target) != kMlp.end() && !std::ranges::all_of(kMlp, named))
      throw Error(ErrorKind::bad_input, "--peft",
                  "torchtune adapts all of w1, w2 and w3 or none (apply_lora_to_mlp)",
                  "name the three of them");
  }
}

bool uses_flex_attention(const Job& job) {
  constexpr int kOldest = 75;  // torch.cuda.get_device_capability() >= (7, 5)
  const GpuSpec& gpu = job.cluster.gpu;
  const int capability =
      gpu.compute_major > 0 ? gpu.compute_major * 10 + gpu.compute_minor : kOldest;
  return job.backend == Backend::cuda && job.strategy.torch >= Version{2, 5, 0} &&
         capability >= kOldest;
}

Bytes packed_inputs(const Job& job) {
  const Strategy& s = job.strategy;
  if (!s.packed) return {};
  const Bytes positions(product({s.micro_batch, s.sequence, size_of(DType::i64)}));
  if (!uses_flex_attention(job))
    return positions + Bytes(product({s.micro_batch, s.sequence, s.sequence}));
  // BlockMask (torch/nn/attention/flex_attention.py): numbers and indices of partial and full
  // blocks of 128, by queries and by keys, and the document ids that mask_mod reads.
  constexpr int64_t kBlock = 128, kLists = 4;
  const int64_t blocks = ceil_div(s.sequence, kBlock);
  const int64_t list = product({s.micro_batch, blocks, checked_add(blocks, 1), int64_t{4}});
  return positions * 2 + Bytes(checked_mul(kLists, list));
}

}  // namespace memplan::torchtune
