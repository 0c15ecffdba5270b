#include "lower/huggingface/unsloth.h"

#include <algorithm>
#include <array>
#include <string>

#include "memplan/error.h"
#include "ops/aten/unsloth.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// Those whose forward is CausalLM_fast_forward, or Mistral's, which does the same (models/*.py).
// Scales and soft caps of logits are arguments of the kernels and take no memory.
constexpr auto kFamilies = std::to_array<std::string_view>(
    {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "granite", "cohere"});

// torch.mm's out_dtype; where it is missing, the logits of 16-bit products have 16 bits.
constexpr Version kMixedProducts{2, 8, 0};

// fused_linear.py, _SMALL_CARD_BYTES
constexpr int64_t kSmallGpu = 49 * (kGiB.count() / 2);

void refuse(const std::string& where, const std::string& problem, const std::string& hint) {
  throw Error(ErrorKind::not_modelled, where, problem, hint);
}

// where(divisor == 0, 1, divisor), which both functions on the way do
Tensor no_zero(Session& s) {
  const Tensor zero = make(s, "aten.eq.Scalar", {}, DType::boolean);
  const Tensor one = make(s, "aten.ones_like.default", {}, DType::f32);
  return make(s, "aten.where.self", {}, DType::f32);
}

}  // namespace

void require_unsloth(const Job& job) {
  const Strategy& s = job.strategy;
  if (s.loss != LossKind::unsloth) return;
  const std::string hint = "use --loss liger, or --loss cross-entropy";
  if (job.model.implementation != Implementation::transformers)
    refuse("--loss unsloth", "Unsloth patches transformers' models, not those of other programs",
           "use --loss cross-entropy");
  if (std::ranges::find(kFamilies, job.model.family) == kFamilies.end() ||
      job.model.head != ModelHead::causal_lm)
    refuse("--loss unsloth",
           "Unsloth's loss is not modelled for family '" + job.model.family +
               "': its forward is compiled from transformers' own",
           hint);
  if (s.torch < kMixedProducts)
    refuse("--torch-version",
           "Unsloth's loss is not modelled where torch.mm has no out_dtype, before 2.8",
           "use --torch-version 2.8.0 or a later one");
  if (job.backend == Backend::cpu) return;
  const GpuSpec& gpu = job.cluster.gpu;
  if (!gpu.cuda) refuse("--loss unsloth", "Unsloth's kernels are modelled for CUDA alone", hint);
  // Triton wants 7, products of bf16 into fp32 want 8.
  const DType compute = s.precision.autocast.value_or(s.precision.weight);
  const int least = compute == DType::bf16 ? 8 : 7;
  if (gpu.compute_major > 0 && gpu.compute_major < least)
    refuse("--loss unsloth",
           "the way that it takes below compute capability " + std::to_string(least) +
               ".0 is not modelled",
           hint);
}

Tensor unsloth_loss(const Forward& f, const Tensor& weight, const Tensor& hidden) {
  Session& s = f.session;
  Tensor labels;
  {
    const Tensor pad = make(s, "aten.full_like.default", {f.batch, 1}, DType::i64);
    labels = make(s, "aten.cat.default", f.ids.sizes(), DType::i64);
  }
  const Tensor targets = view(labels, {labels.elements()});
  Tensor divisor;
  {
    Tensor count;
    {
      const Tensor valid = make(s, "aten.ne.Scalar", targets.sizes(), DType::boolean);
      count = sum(valid);
    }
    divisor = make(s, "aten._to_copy.default", {}, DType::f32);
  }
  const Tensor inner = no_zero(s);
  divisor = inner;
  const Tensor rows = view(hidden, {targets.size(0), hidden.size(-1)});
  const Tensor checked = no_zero(s);
  const GpuSpec& gpu = f.job.cluster.gpu;
  const bool on_gpu = f.job.backend == Backend::cuda;
  return unsloth::fused_linear_cross_entropy(
      rows, weight, targets, f.batch * (f.sequence - 1),
      {.capacity = f.capacity,
       .small = on_gpu && gpu.memory <= Bytes(kSmallGpu),
       .compute_major = on_gpu && gpu.compute_major > 0 ? gpu.compute_major : 8});
}

}  // namespace memplan::hf
