#include "lower/huggingface/liger.h"

#include <algorithm>
#include <array>
#include <string>

#include "job/multiprocessors.h"
#include "memplan/error.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

struct Patched {
  std::string_view family;
  bool kernels;  ///< norms, rotary embedding and MLP are those of decoder.cc
};
// apply_liger_kernel_to_*, fused_linear_cross_entropy=True. Granite's raises NotImplementedError.
constexpr auto kPatched = std::to_array<Patched>({{"llama", true},
                                                  {"mistral", true},
                                                  {"qwen2", true},
                                                  {"qwen3", true},
                                                  {"gemma", false},
                                                  {"gemma2", false},
                                                  {"gemma3_text", false},
                                                  {"phi3", false},
                                                  {"olmo2", false}});

void refuse(const std::string& option, const std::string& problem, const std::string& hint) {
  throw Error(ErrorKind::not_modelled, option, problem, hint);
}

}  // namespace

void require_liger(const Job& job) {
  const Strategy& s = job.strategy;
  if (s.loss != LossKind::liger && s.kernels != KernelKind::liger) return;
  if (job.model.implementation != Implementation::transformers)
    refuse(s.loss == LossKind::liger ? "--loss liger" : "--kernels liger",
           "Liger patches transformers' models, not those of other programs",
           "use --loss cross-entropy and --kernels eager");
  const auto row = std::ranges::find(kPatched, job.model.family, &Patched::family);
  if (s.loss == LossKind::liger && row == kPatched.end())
    refuse("--loss liger",
           "Liger's fused loss is not modelled for family '" + job.model.family + "'",
           "use --loss cross-entropy");
  if (s.kernels != KernelKind::liger) return;
  if (row == kPatched.end() || !row->kernels)
    refuse("--kernels liger",
           "Liger's kernels are not modelled for family '" + job.model.family + "'",
           "use --kernels eager");
  if (job.model.activation != "silu" && job.model.activation != "swish")
    refuse("--kernels liger", "Liger's SwiGLU takes no activation '" + job.model.activation + "'",
           "use --kernels eager");
}

bool runs_liger(const Forward& f) { return f.job.strategy.kernels == KernelKind::liger; }

liger::Device liger_device(const Forward& f) {
  if (f.job.backend == Backend::cpu) return {};
  const GpuSpec& gpu = f.job.cluster.gpu;
  return {multiprocessors(gpu), gpu.compute_major};
}

Tensor liger_loss(const Forward& f, const Tensor& weight, const Tensor& hidden) {
  if (!hidden.requires_grad())
    refuse("--loss liger", "Liger makes no gradient of a head whose input needs none",
           "use --loss cross-entropy");
  const int64_t tokens = f.batch * f.sequence;
  const Tensor labels =
      make(f.session, "aten.constant_pad_nd.default", {f.batch, f.sequence + 1}, DType::i64);
  const Tensor shifted = contiguous(slice(labels, 1, 1, f.sequence));
  const Tensor rows = view(hidden, {tokens, hidden.size(-1)});
  return liger::fused_linear_cross_entropy(rows, weight, view(shifted, {tokens}), liger_device(f));
}

}  // namespace memplan::hf
