// The names of every choice a strategy offers: one table each, read by options, files and reports.
#include <string>
#include <vector>

#include "memplan/error.h"
#include "memplan/strategy.h"

namespace memplan {

template <>
const std::vector<NameRow<Framework>>& names_of<Framework>() {
  static const std::vector<NameRow<Framework>> rows = {
      {Framework::textbook, "textbook", "what the papers count: states and saved activations"},
      {Framework::pytorch, "pytorch", "plain PyTorch: DDP, DataParallel"},
      {Framework::huggingface, "huggingface", "transformers and its Trainer"},
      {Framework::litgpt, "litgpt", "Lightning-AI/litgpt's finetuning scripts on one GPU"},
      {Framework::torchtune, "torchtune", "torchtune's finetuning recipes on one GPU"},
      {Framework::fsdp2, "fsdp2", "PyTorch fully_shard"},
      {Framework::deepspeed, "deepspeed", "DeepSpeed ZeRO"},
      {Framework::megatron, "megatron", "Megatron-core"},
      {Framework::fsdp1, "fsdp1", "PyTorch FullyShardedDataParallel"},
      {Framework::torchtitan, "torchtitan", "torchtitan's pretraining"},
  };
  return rows;
}

template <>
const std::vector<NameRow<DataParallelKind>>& names_of<DataParallelKind>() {
  static const std::vector<NameRow<DataParallelKind>> rows = {
      {DataParallelKind::ddp, "ddp", "one process a GPU, gradients all-reduced"},
      {DataParallelKind::data_parallel, "data-parallel",
       "torch.nn.DataParallel: GPU 0 gathers outputs and gradients"},
  };
  return rows;
}

template <>
const std::vector<NameRow<ScheduleKind>>& names_of<ScheduleKind>() {
  static const std::vector<NameRow<ScheduleKind>> rows = {
      {ScheduleKind::naive, "naive", "layers cut over GPUs, 1 of p GPUs busy"},
      {ScheduleKind::gpipe, "gpipe", "all forwards, then all backwards (arXiv 1811.06965)"},
      {ScheduleKind::one_f1b, "1f1b", "one forward one backward, flushed; interleaved with --vpp"},
      {ScheduleKind::pipedream, "pipedream",
       "1F1B without flush, a weight version per batch in flight (arXiv 1806.03377)"},
  };
  return rows;
}

template <>
const std::vector<NameRow<OptimizerKind>>& names_of<OptimizerKind>() {
  static const std::vector<NameRow<OptimizerKind>> rows = {
      {OptimizerKind::adamw, "adamw", "two moments: 2 elements a parameter"},
      {OptimizerKind::adam, "adam", "two moments: 2 elements"},
      {OptimizerKind::sgd, "sgd", "no state"},
      {OptimizerKind::sgd_momentum, "sgd-momentum", "one moment: 1 element"},
      {OptimizerKind::adafactor, "adafactor",
       "torch.optim's: a row and a column sum of each matrix"},
      {OptimizerKind::lion, "lion", "one moment: 1 element"},
      {OptimizerKind::adam8bit, "adam8bit",
       "bitsandbytes: two 8-bit moments, a scale per 256: 2.031 B"},
      {OptimizerKind::adafactor_transformers, "adafactor-transformers",
       "transformers': row and column sums, all in fp32"},
      {OptimizerKind::lion8bit, "lion8bit", "bitsandbytes: one 8-bit moment: 1.016 B"},
      {OptimizerKind::paged_adamw, "paged-adamw",
       "bitsandbytes: two fp32 moments, 8 B, in memory that can leave the GPU"},
      {OptimizerKind::paged_adamw8bit, "paged-adamw8bit",
       "bitsandbytes: 8-bit moments, 2 B in memory that can leave the GPU, 0.031 B that cannot"},
      {OptimizerKind::adamw8bit_torchao, "adamw8bit-torchao",
       "torchao: two 8-bit moments, a scale per 256: 2.031 B"},
      {OptimizerKind::adamw4bit_torchao, "adamw4bit-torchao",
       "torchao: two 4-bit moments, a scale per 128: 1.063 B"},
      {OptimizerKind::muon, "muon", "hidden matrices one moment: 1 element; all else as adamw"},
      {OptimizerKind::galore, "galore",
       "hidden matrices m × n: moments of rank · max(m, n) and a projector of rank · min(m, n)"},
      {OptimizerKind::lomo, "lomo", "no state, no gradients: updates inside backward"},
      {OptimizerKind::adalomo, "adalomo", "row and column sums in fp32; updates inside backward"},
      {OptimizerKind::none, "none", "gradients alone: nothing steps"},
  };
  return rows;
}

template <>
const std::vector<NameRow<OptimizerImpl>>& names_of<OptimizerImpl>() {
  static const std::vector<NameRow<OptimizerImpl>> rows = {
      {OptimizerImpl::automatic, "auto", "what PyTorch chooses: foreach on CUDA"},
      {OptimizerImpl::foreach_, "foreach", "lists of tensors: temporaries for all at once"},
      {OptimizerImpl::fused, "fused", "one kernel without temporaries"},
      {OptimizerImpl::forloop, "forloop", "one parameter after the other"},
  };
  return rows;
}

template <>
const std::vector<NameRow<LossKind>>& names_of<LossKind>() {
  static const std::vector<NameRow<LossKind>> rows = {
      {LossKind::cross_entropy, "cross-entropy", "all logits at once, in fp32"},
      {LossKind::liger, "liger", "Liger's fused linear cross-entropy"},
      {LossKind::unsloth, "unsloth", "Unsloth's fused linear cross-entropy"},
      {LossKind::torchtune_chunked, "torchtune-chunked",
       "torchtune 0.6: logits in chunks of the sequence, each up-cast by itself"},
      {LossKind::torchtune_linear, "torchtune-linear",
       "torchtune 0.7: head and loss together, a chunk of tokens after the other"},
      {LossKind::torchtitan, "torchtitan", "all logits at once, in fp32, summed"},
      {LossKind::torchtitan_chunked, "torchtitan-chunked",
       "head, loss and their backward, a chunk of the sequence after the other"},
      {LossKind::litgpt_full, "litgpt-full", "all logits, then the loss in chunks of 128 tokens"},
      {LossKind::litgpt_chunked, "litgpt-chunked", "head and loss in chunks of 128 tokens"},
  };
  return rows;
}

bool has_chunks(LossKind loss) {
  return loss == LossKind::torchtune_chunked || loss == LossKind::torchtune_linear ||
         loss == LossKind::torchtitan_chunked;
}

template <>
const std::vector<NameRow<KernelKind>>& names_of<KernelKind>() {
  static const std::vector<NameRow<KernelKind>> rows = {
      {KernelKind::eager, "eager", "PyTorch's operators, one by one"},
      {KernelKind::liger, "liger", "Liger-Kernel's norms, rotary embedding and SwiGLU"},
  };
  return rows;
}

template <>
const std::vector<NameRow<QuantKind>>& names_of<QuantKind>() {
  static const std::vector<NameRow<QuantKind>> rows = {
      {QuantKind::none, "none", "weights as --precision says"},
      {QuantKind::nf4, "nf4", "4 bits, NormalFloat (QLoRA)"},
      {QuantKind::fp4, "fp4", "4 bits, floating point"},
      {QuantKind::int8, "int8", "8 bits (LLM.int8)"},
  };
  return rows;
}

template <>
const std::vector<NameRow<Recompute>>& names_of<Recompute>() {
  static const std::vector<NameRow<Recompute>> rows = {
      {Recompute::none, "none", "everything is kept for backward"},
      {Recompute::selective, "selective", "the attention core is computed again"},
      {Recompute::full, "full", "each layer keeps its input alone"},
  };
  return rows;
}

template <>
const std::vector<NameRow<ActivationModel>>& names_of<ActivationModel>() {
  static const std::vector<NameRow<ActivationModel>> rows = {
      {ActivationModel::korthikanti, "korthikanti", "operator by operator (arXiv 2205.05198)"},
      {ActivationModel::zero, "zero", "12·b·s·h elements a layer (arXiv 1910.02054)"},
  };
  return rows;
}

template <>
const std::vector<NameRow<AttentionKind>>& names_of<AttentionKind>() {
  static const std::vector<NameRow<AttentionKind>> rows = {
      {AttentionKind::unfused, "unfused", "scores and softmax are tensors: s² memory"},
      {AttentionKind::flash, "flash", "one kernel that keeps the log-sum-exp alone"},
      {AttentionKind::sdpa, "sdpa", "PyTorch's own choice of kernel"},
      {AttentionKind::unfused, "eager", "unfused, by HuggingFace's name"},
      {AttentionKind::flash, "flash_attention_2", "flash, by HuggingFace's name"},
  };
  return rows;
}

template <>
const std::vector<NameRow<Placement>>& names_of<Placement>() {
  static const std::vector<NameRow<Placement>> rows = {
      {Placement::gpu, "gpu", "on the GPU"},
      {Placement::cpu, "cpu", "in host memory"},
      {Placement::nvme, "nvme", "on NVMe"},
  };
  return rows;
}

template <>
const std::vector<NameRow<PeftKind>>& names_of<PeftKind>() {
  static const std::vector<NameRow<PeftKind>> rows = {
      {PeftKind::none, "none", "the model's own parameters are trained"},
      {PeftKind::lora, "lora", "low-rank matrices beside linear layers"},
      {PeftKind::houlsby, "houlsby", "two bottleneck adapters a layer"},
      {PeftKind::pfeiffer, "pfeiffer", "one bottleneck adapter a layer"},
      {PeftKind::adapter_drop, "adapter-drop", "Pfeiffer's without the first layers"},
      {PeftKind::lin, "lin", "one adapter after the MLP with a LayerNorm (Adapter-L)"},
      {PeftKind::prompt_tuning, "prompt-tuning", "trained virtual tokens before the prompt"},
      {PeftKind::multitask_prompt_tuning, "multitask-prompt-tuning",
       "a shared prompt with low-rank parts for each task"},
      {PeftKind::p_tuning, "p-tuning", "virtual tokens from an MLP or LSTM"},
      {PeftKind::prefix_tuning, "prefix-tuning", "trained keys and values before every layer"},
      {PeftKind::adalora, "adalora", "LoRA as P·Λ·Q whose ranks are shared out in training"},
      {PeftKind::boft, "boft", "butterfly factors of orthogonal blocks"},
      {PeftKind::adaption_prompt, "adaption-prompt",
       "gated prompts in the last layers (LLaMA-Adapter)"},
      {PeftKind::ia3, "ia3", "vectors that scale keys, values and MLP inputs"},
      {PeftKind::beft, "beft", "one added bias a module"},
      {PeftKind::lily, "lily", "low-rank matrices shared between layers, with a router"},
      {PeftKind::loha, "loha", "Hadamard product of two low-rank products"},
      {PeftKind::lokr, "lokr", "Kronecker product, of which one factor is low-rank"},
      {PeftKind::oft, "oft", "orthogonal blocks before the weight"},
      {PeftKind::poly, "poly", "a router over LoRA skills"},
      {PeftKind::ln_tuning, "ln-tuning", "the norms, as copies"},
      {PeftKind::vera, "vera", "vectors around frozen random matrices that all layers share"},
      {PeftKind::pvera, "pvera", "VeRA's with sampled vectors"},
      {PeftKind::fourierft, "fourierft", "a few Fourier coefficients of the change"},
      {PeftKind::glora, "glora", "scales and shifts of weight, input and bias"},
      {PeftKind::hra, "hra", "Householder reflections"},
      {PeftKind::vblora, "vblora", "LoRA out of a bank of vectors that all layers share"},
      {PeftKind::unilora, "unilora", "LoRA projected from one vector for all layers"},
      {PeftKind::cpt, "cpt", "context-aware prompt tuning"},
      {PeftKind::miss, "miss", "one block matrix added over shards of the input"},
      {PeftKind::bone, "bone", "block affine change, MiSS's earlier name"},
      {PeftKind::randlora, "randlora", "full rank from frozen random bases"},
      {PeftKind::road, "road", "2D rotations of the outputs"},
      {PeftKind::trainable_tokens, "trainable-tokens", "rows of the embedding"},
      {PeftKind::hira, "hira", "Hadamard product of the weight and a low-rank one"},
      {PeftKind::shira, "shira", "sparse entries of the weight"},
      {PeftKind::c3a, "c3a", "block-circular convolution"},
      {PeftKind::waveft, "waveft", "a few wavelet coefficients of the change"},
      {PeftKind::osf, "osf", "the small singular directions of each weight"},
      {PeftKind::delora, "delora", "LoRA with normalised factors and one strength"},
      {PeftKind::gralora, "gralora", "LoRA on sub-blocks of the weight"},
      {PeftKind::cartridge, "cartridge", "a trained key-value cache"},
      {PeftKind::tinylora, "tinylora",
       "a short vector through fixed projections of singular directions"},
      {PeftKind::psoft, "psoft", "orthogonal change in the principal subspace"},
      {PeftKind::peanut, "peanut", "a small network of the weight"},
      {PeftKind::supertuning, "supertuning", "the largest entries of each weight"},
      {PeftKind::deft, "deft", "a projection out of a subspace and an update within it"},
      {PeftKind::litgpt_lora, "litgpt-lora",
       "litgpt's: one LoRA for each part of a fused projection"},
      {PeftKind::litgpt_adapter, "litgpt-adapter",
       "litgpt's LLaMA-Adapter: gated prompts from layer 2"},
      {PeftKind::litgpt_adapter_v2, "litgpt-adapter-v2",
       "the same, with trained norms and a bias and scale for each linear layer"},
      {PeftKind::torchtune_lora, "torchtune-lora", "torchtune's LoRALinear"},
      {PeftKind::bridge_lora, "bridge-lora", "Megatron-Bridge's, over tensor-parallel layers"},
  };
  return rows;
}

template <typename Enum>
Enum parse_name(std::string_view text, std::string_view where) {
  std::vector<std::string_view> names;
  for (const auto& row : names_of<Enum>()) {
    if (row.name == text) return row.value;
    names.push_back(row.name);
  }
  throw Error(ErrorKind::bad_input, std::string(where),
              "'" + std::string(text) + "' is not a known name", name_hint(text, names));
}

template Framework parse_name<Framework>(std::string_view, std::string_view);
template DataParallelKind parse_name<DataParallelKind>(std::string_view, std::string_view);
template ScheduleKind parse_name<ScheduleKind>(std::string_view, std::string_view);
template OptimizerKind parse_name<OptimizerKind>(std::string_view, std::string_view);
template OptimizerImpl parse_name<OptimizerImpl>(std::string_view, std::string_view);
template LossKind parse_name<LossKind>(std::string_view, std::string_view);
template KernelKind parse_name<KernelKind>(std::string_view, std::string_view);
template QuantKind parse_name<QuantKind>(std::string_view, std::string_view);
template Recompute parse_name<Recompute>(std::string_view, std::string_view);
template ActivationModel parse_name<ActivationModel>(std::string_view, std::string_view);
template AttentionKind parse_name<AttentionKind>(std::string_view, std::string_view);
template Placement parse_name<Placement>(std::string_view, std::string_view);
template PeftKind parse_name<PeftKind>(std::string_view, std::string_view);

const std::vector<NameRow<Precision>>& precisions() {
  using D = DType;
  const auto row = [](std::string_view name, D weight, D gradient, D optimizer,
                      std::optional<D> master, D activation, std::string_view meaning) {
    return NameRow<Precision>{{std::string(name), weight, gradient, optimizer, master, activation,
                               name.starts_with("amp-") ? std::optional(activation) : std::nullopt},
                              name,
                              meaning};
  };
  static const std::vector<NameRow<Precision>> rows = {
      row("fp32", D::f32, D::f32, D::f32, {}, D::f32, "everything in 32 bits"),
      row("bf16", D::bf16, D::bf16, D::bf16, {}, D::bf16, "everything in bf16, no master copy"),
      row("fp16", D::f16, D::f16, D::f16, {}, D::f16, "everything in fp16, no master copy"),
      row("mixed-bf16", D::bf16, D::bf16, D::f32, D::f32, D::bf16,
          "bf16 weights and gradients, fp32 master copy and moments"),
      row("mixed-fp16", D::f16, D::f16, D::f32, D::f32, D::f16,
          "fp16 weights and gradients, fp32 master copy and moments"),
      row("amp-bf16", D::f32, D::f32, D::f32, {}, D::bf16, "fp32 weights under bf16 autocast"),
      row("amp-fp16", D::f32, D::f32, D::f32, {}, D::f16, "fp32 weights under fp16 autocast"),
  };
  return rows;
}

Precision parse_precision(std::string_view text, std::string_view where) {
  if (text == "fp8")
    throw Error(ErrorKind::not_modelled, std::string(where), "precision 'fp8' is not modelled yet",
                "its weights and activations depend on the recipe; nearest: mixed-bf16");
  std::vector<std::string_view> names;
  for (const auto& row : precisions()) {
    if (row.name == text) return row.value;
    names.push_back(row.name);
  }
  throw Error(ErrorKind::bad_input, std::string(where),
              "'" + std::string(text) + "' is not a precision", name_hint(text, names));
}

}  // namespace memplan
