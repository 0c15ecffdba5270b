#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "input/megatron_model.h"
#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {
namespace {

using V = MegatronValues;

std::string shown(const std::string& text) { return "'" + printable(text) + "'"; }

DType dtype_of(const StatedWord& word, std::string_view argument) {
  if (word.value == "fp8")
    megatron_refuse(word.where, std::string(argument) + " fp8 is not modelled yet");
  return word.value == "bf16" ? DType::bf16 : word.value == "fp16" ? DType::f16 : DType::f32;
}

// validate_args and OptimizerConfig: 16-bit weights have an fp32 master copy; gradients are
// collected in fp32 for bf16 unless somebody asks otherwise, for fp16 where somebody asks.
void precision(const V& v, Strategy& s) {
  if (v.bf16.value && v.fp16.value)
    megatron_bad(v.fp16.where, "--fp16", "contradicts --bf16", "give one of the two");
  MegatronSpec& m = s.megatron;
  m.precision_aware_optimizer = v.precision_aware.value;
  m.main_grads = dtype_of(v.main_grads, "--main-grads-dtype");
  m.exp_avg_sq = dtype_of(v.exp_avg_sq, "--exp-avg-sq-dtype");
  const DType main_params = dtype_of(v.main_params, "--main-params-dtype");
  const DType exp_avg = dtype_of(v.exp_avg, "--exp-avg-dtype");
  const auto only_precision_aware = [&](const StatedWord& word, std::string_view argument) {
    if (v.precision_aware.value || word.value == "fp32") return;
    megatron_bad(word.where, argument, "needs the precision-aware optimizer",
                 "add --use-precision-aware-optimizer");
  };
  only_precision_aware(v.main_grads, "--main-grads-dtype");
  only_precision_aware(v.main_params, "--main-params-dtype");
  only_precision_aware(v.exp_avg, "--exp-avg-dtype");
  only_precision_aware(v.exp_avg_sq, "--exp-avg-sq-dtype");
  if (v.precision_aware.value && v.optimizer.value != "adam")
    megatron_bad(v.precision_aware.where, "--use-precision-aware-optimizer", "needs Adam",
                 "leave --optimizer away");

  Precision& p = s.precision;
  p.weight = v.bf16.value ? DType::bf16 : v.fp16.value ? DType::f16 : DType::f32;
  p.name = v.bf16.value ? "mixed-bf16" : v.fp16.value ? "mixed-fp16" : "fp32";
  p.activation = p.weight;
  p.autocast.reset();
  p.optimizer = exp_avg;
  p.master.reset();
  if (p.weight != DType::f32) p.master = main_params;
  if (v.grads_fp32.value && m.main_grads != DType::f32)
    megatron_bad(v.main_grads.where, "--main-grads-dtype",
                 "contradicts --accumulate-allreduce-grads-in-fp32", "give one of the two");
  bool wide = v.grads_fp32.value;
  if (v.bf16.value && v.grad_reduce_bf16.value)
    wide = false;
  else if (v.bf16.value && m.main_grads == DType::f32)
    wide = true;
  p.gradient = wide ? DType::f32 : p.weight;
}

// validate_args and get_megatron_muon_optimizer (0.16, 0.17) or _get_megatron_emerging_optimizer.
void muon(const V& v, Strategy& s) {
  const std::string& where = v.optimizer.where;
  const std::string option = "--optimizer " + v.optimizer.value;
  const auto refuse = [&](const auto& given, std::string problem) {
    megatron_refuse(given.where, std::move(problem) + " is not modelled");
  };
  const Version core = s.megatron.core;
  constexpr Version kLayerWiseByFlag{0, 18, 0};
  if (core < Version{0, 16, 0})
    megatron_bad(where, option, "comes with Megatron-core 0.16", "use --optimizer adam");
  if (v.fp16.value)
    megatron_bad(v.fp16.where, "--fp16", "does not go with " + option, "use --bf16");
  if (core < kLayerWiseByFlag && v.distributed_optimizer.value)
    megatron_bad(v.distributed_optimizer.where, "--use-distributed-optimizer",
                 "does not go with " + option + " before Megatron-core 0.18",
                 "leave it away and use --optimizer dist_muon");
  if (core < kLayerWiseByFlag && v.overlap_grad_reduce.value &&
      (v.optimizer.value == "muon" || core < Version{0, 17, 0}))
    megatron_bad(v.overlap_grad_reduce.where, "--overlap-grad-reduce",
                 "does not go with " + option + " of this Megatron-core", "leave it away");
  if (v.muon_matmul.value == "low")
    megatron_bad(v.muon_matmul.where, "--muon-fp32-matmul-prec",
                 "'low' is no precision of torch.set_float32_matmul_precision", "use medium");
  if (v.tp.value > 1 && v.muon_tp_mode.value != "blockwise")
    refuse(v.muon_tp_mode, "--muon-tp-mode " + v.muon_tp_mode.value);
  if (v.muon_scalar.value != "adam")
    refuse(v.muon_scalar, "--muon-scalar-optimizer " + v.muon_scalar.value);
  s.optimizer = OptimizerKind::muon;
  s.megatron.muon = {
      .nesterov = v.muon_nesterov.value,
      .split_qkv = !v.muon_whole_qkv.value,
      .bf16_products = v.muon_matmul.value == "medium",
      .precomputed_layout = core >= kLayerWiseByFlag && !v.no_layer_wise_layout.value};
}

void optimizer(const V& v, Strategy& s) {
  const std::string& name = v.optimizer.value;
  s.optimizer_impl = OptimizerImpl::fused;  // FusedAdam of Transformer Engine or Apex
  if (name == "adam")
    s.optimizer = OptimizerKind::adamw;  // decoupled weight decay; the states are Adam's
  else if (name == "sgd")
    s.optimizer = v.sgd_momentum.value > 0 ? OptimizerKind::sgd_momentum : OptimizerKind::sgd;
  else if (name == "muon" || name == "dist_muon")
    muon(v, s);
  else if (name == "lion")
    s.optimizer = OptimizerKind::lion;
  else
    megatron_refuse(v.optimizer.where, "--optimizer " + name + " is not modelled");
  s.clip_gradients = v.clip.value > 0;
}

void fp8(const V& v, Strategy& s) {
  MegatronSpec& m = s.megatron;
  m.fp8 = v.fp8_format.given();
  m.fp8_weights = v.fp8_param_gather.value;
  m.tp_overlap = v.tp_overlap.value;
  if (m.tp_overlap && v.partial_overlap.given())
    megatron_refuse(v.partial_overlap.where, v.partial_overlap.value +
                                                 " beside --tp-comm-overlap: overlap of some "
                                                 "products alone is not modelled");
  if (!m.fp8) return;
  if (v.wide_wgrad.given())
    megatron_refuse(v.wide_wgrad.where, v.wide_wgrad.value +
                                            ": weight gradients in 16 bits beside fp8 are not "
                                            "modelled");
  m.fp8_delayed = v.fp8_recipe.value == "delayed";
  m.fp8_history = v.fp8_history.value;
  if (!m.fp8_delayed && v.fp8_recipe.value != "tensorwise")
    megatron_refuse(
        v.fp8_recipe.given() ? v.fp8_recipe.where : v.fp8_format.where,
        "--fp8-recipe " + v.fp8_recipe.value + " is not modelled: tensorwise and delayed are");
  if (!v.bf16.value)
    megatron_bad(v.fp8_format.where, "--fp8-format", "is modelled of bf16 models alone",
                 "add --bf16");
}

bool contains(const std::vector<std::string>& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

void recompute_modules(const V& v, const Job& job, std::vector<std::string>& out) {
  out = v.recompute_modules.value;
  if (!v.recompute_modules.given()) out = {"core_attn"};
  const std::string& where = v.recompute_modules.where;
  constexpr std::string_view kName = "--recompute-modules";
  for (const std::string& module : out)
    if (module.starts_with("gd") || module == "mhc")
      megatron_refuse(where, std::string(kName) + " " + module + " is not modelled");
  if (contains(out, "moe_act") && !v.grouped_gemm.value)
    megatron_bad(where, kName, "moe_act needs experts in one product", "add --moe-grouped-gemm");
  if (contains(out, "mla_up_proj") && job.model.mla.kv_lora_rank == 0)
    megatron_bad(where, kName, "mla_up_proj needs latent attention",
                 "add --multi-latent-attention, or leave it away");
  if (contains(out, "shared_experts") && v.shared_ffn.given() && v.shared_overlap.value)
    megatron_bad(where, kName, "shared_experts does not go with --moe-shared-expert-overlap",
                 "give one of the two");
}

void recompute(const V& v, Job& job) {
  Strategy& s = job.strategy;
  MegatronSpec& m = s.megatron;
  std::string granularity = v.recompute_granularity.value;
  std::string where = v.recompute_granularity.where;
  if (v.recompute_activations.value) {
    granularity = "selective";
    where = v.recompute_activations.where;
  }
  if (v.moe_recompute.value && granularity == "full")
    megatron_bad(v.moe_recompute.where, "--moe-layer-recompute",
                 "contradicts --recompute-granularity full", "give one of the two");
  if (v.moe_recompute.value) granularity = "selective";
  s.recompute = granularity == "full"        ? Recompute::full
                : granularity == "selective" ? Recompute::selective
                                             : Recompute::none;
  m.distribute_saved_activations = v.distribute_saved.value;
  if (s.recompute == Recompute::full) {
    if (!v.recompute_method.given())
      megatron_bad(where, "--recompute-granularity", "full needs a method",
                   "add --recompute-method uniform or block");
    if (!v.recompute_layers.given())
      megatron_bad(where, "--recompute-granularity", "full needs a number of layers",
                   "add --recompute-num-layers 1");
    m.recompute_block = v.recompute_method.value == "block";
    m.recompute_layers = v.recompute_layers.value;
  }
  if (s.recompute == Recompute::selective) {
    if (v.recompute_method.given())
      megatron_bad(v.recompute_method.where, "--recompute-method",
                   "belongs to --recompute-granularity full", "leave it away");
    if (v.recompute_layers.given())
      megatron_bad(v.recompute_layers.where, "--recompute-num-layers",
                   "belongs to --recompute-granularity full", "leave it away");
    recompute_modules(v, job, m.recompute_modules);
    if (v.moe_recompute.value && !contains(m.recompute_modules, "moe"))
      m.recompute_modules.emplace_back("moe");
  }
  if (!v.distribute_saved.value) return;
  const auto bad = [&](std::string problem, std::string hint) {
    megatron_bad(v.distribute_saved.where, "--distribute-saved-activations", std::move(problem),
                 std::move(hint));
  };
  if (s.tp == 1) bad("needs tensor parallelism", "leave it away");
  if (s.recompute != Recompute::full)
    bad("belongs to full recomputation", "add --recompute-granularity full");
  if (s.sequence_parallel) bad("contradicts --sequence-parallel", "give one of the two");
}

void attention(const V& v, Job& job) {
  using Attention = MegatronSpec::Attention;
  Strategy& s = job.strategy;
  MegatronSpec& m = s.megatron;
  m.local = v.implementation.value == "local";
  if (v.implementation.value == "inference_optimized")
    megatron_refuse(v.implementation.where,
                    "--transformer-impl inference_optimized is not modelled");
  const std::string& backend = v.backend.value;
  m.attention = backend == "flash"     ? Attention::flash
                : backend == "fused"   ? Attention::fused
                : backend == "unfused" ? Attention::unfused
                : backend == "local"   ? Attention::local
                                       : Attention::automatic;
  if (m.local && (backend == "flash" || backend == "fused"))
    megatron_bad(v.backend.where, "--attention-backend",
                 backend + " is Transformer Engine's, and --transformer-impl is local",
                 "leave one of the two away");
  const bool unfused =
      m.local || m.attention == Attention::unfused || m.attention == Attention::local;
  s.attention = unfused ? AttentionKind::unfused : AttentionKind::flash;
  m.softmax_in_fp32 = v.softmax_fp32.value || v.query_key_scaling.value;
  m.masked_softmax_fusion = !v.no_softmax_fusion.value;
  m.attention_mask_from_loader = !v.no_mask.value;
}

void kernels(const V& v, Job& job) {
  MegatronSpec& m = job.strategy.megatron;
  m.bias_activation_fusion = v.swiglu.value ? !v.no_swiglu_fusion.value
                                            : !v.no_gelu_fusion.value && !v.no_linear_bias.value;
  m.bias_dropout_fusion = !v.no_dropout_fusion.value;
  m.rope_fusion = !v.no_rope_fusion.value;
  m.gradient_accumulation_fusion = !v.no_accumulation_fusion.value;
  m.deterministic = v.deterministic.value;
  if (v.cross_entropy_fusion.value)
    m.cross_entropy = v.cross_entropy_by.value == "te" ? MegatronSpec::CrossEntropy::fused_te
                                                       : MegatronSpec::CrossEntropy::fused_native;
  if (m.deterministic && v.cross_entropy_fusion.value)
    megatron_bad(v.cross_entropy_fusion.where, "--cross-entropy-loss-fusion",
                 "contradicts --deterministic-mode", "give one of the two");
}

void experts(const V& v, Job& job) {
  if (job.model.moe.experts == 0) return;
  MegatronSpec& m = job.strategy.megatron;
  m.grouped_gemm = v.grouped_gemm.value;
  m.permute_fusion = v.permute_fusion.value;
  m.router_fp32 = v.router_dtype.value == "fp32";
  if (v.router_dtype.value == "fp64")
    megatron_refuse(v.router_dtype.where, "--moe-router-dtype fp64 is not modelled");
  m.router_bias = v.router_bias.value;
  m.dispatcher = v.dispatcher.value == "alltoall" ? MegatronSpec::Dispatcher::alltoall
                 : v.dispatcher.value == "flex"   ? MegatronSpec::Dispatcher::flex
                                                  : MegatronSpec::Dispatcher::allgather;
  m.load_balancing = v.load_balancing.value;
  m.score_function = v.score_function.value;
  m.router_pre_softmax = v.pre_softmax.value;
  m.router_fusion = v.router_fusion.value;
  m.router_groups = v.router_groups.value;
  m.z_loss = v.z_loss.value;
  m.aux_loss = 0;
  for (const std::string& text : v.aux_loss.value) {
    double value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    m.aux_loss = std::max(m.aux_loss, value);
  }
  if (v.aux_loss.value.size() != v.load_balancing.value.size() && v.aux_loss.given() &&
      v.load_balancing.value.size() > 1)
    megatron_bad(v.aux_loss.where, "--moe-aux-loss-coeff",
                 fmt::format("{} values for {} kinds of load balancing", v.aux_loss.value.size(),
                             v.load_balancing.value.size()),
                 "give one for each --moe-router-load-balancing-type");
  m.capacity_factor = v.capacity_factor.value;
  m.pad_to_capacity = v.pad_to_capacity.value;
  if (m.pad_to_capacity && !v.capacity_factor.given())
    megatron_bad(v.pad_to_capacity.where, "--moe-pad-expert-input-to-capacity", "needs a capacity",
                 "add --moe-expert-capacity-factor F");
  if (v.capacity_factor.given() &&
      (contains(m.load_balancing, "sinkhorn") || contains(m.load_balancing, "quantile_balancing")))
    megatron_bad(v.capacity_factor.where, "--moe-expert-capacity-factor",
                 "does not go with " + m.load_balancing.front() + " load balancing",
                 "use --moe-router-load-balancing-type aux_loss");
  m.shared_expert_overlap = v.shared_overlap.value;
  if (m.shared_expert_overlap && m.dispatcher == MegatronSpec::Dispatcher::allgather)
    megatron_bad(v.shared_overlap.where, "--moe-shared-expert-overlap",
                 "does not go with the allgather dispatcher",
                 "add --moe-token-dispatcher-type alltoall");
}

int64_t whole(std::string_view text, const MegatronWord& value, std::string_view name) {
  int64_t number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc() || end != text.data() + text.size() || number < 0 ||
      number > int64_t{1} << 30)
    megatron_bad(value.where, name, shown(value.text) + " is not :SIZE:COUNT",
                 "write :4096:8, sizes being KiB");
  return number;
}

// aten/src/ATen/cuda/CublasHandlePool.cpp, parseChosenWorkspaceSize: pairs of KiB and how many.
Bytes cublas_workspace(const MegatronWord& value) {
  constexpr std::string_view kName = "CUBLAS_WORKSPACE_CONFIG";
  std::string_view text = value.text;
  if (!text.starts_with(':')) whole("", value, kName);
  text.remove_prefix(1);
  const std::vector<std::string_view> parts = split(text, ':');
  if (parts.size() % 2 != 0) whole("", value, kName);
  int64_t kib = 0;
  for (size_t i = 0; i + 1 < parts.size(); i += 2)
    kib = checked_add(
        kib, checked_mul(whole(parts[i], value, kName), whole(parts[i + 1], value, kName)));
  return kib * kKiB;
}

}  // namespace

void apply_megatron_training(const V& v, Job& job) {
  Strategy& s = job.strategy;
  if (!v.micro_batch.given()) megatron_missing("--micro-batch-size", "1");
  s.micro_batch = v.micro_batch.value;
  precision(v, s);
  optimizer(v, s);
  fp8(v, s);
  recompute(v, job);
  attention(v, job);
  kernels(v, job);
  experts(v, job);
}

void apply_megatron_environment(const MegatronArguments& arguments, Job& job) {
  using Attention = MegatronSpec::Attention;
  MegatronSpec& m = job.strategy.megatron;
  // transformer_engine/pytorch/attention/dot_product_attention/utils.py: 0 switches a kernel off.
  bool flash = true, fused = true;
  for (const auto& [name, value] : arguments.environment) {
    const bool cublas = name == "CUBLAS_WORKSPACE_CONFIG";
    const bool kernel = name == "NVTE_FLASH_ATTN" || name == "NVTE_FUSED_ATTN";
    if (!value.unknown.empty() && (cublas || kernel))
      megatron_bad(value.where, name, value.unknown, "write its value");
    if (cublas) job.strategy.cublas_workspace = cublas_workspace(value);
    if (name == "NVTE_FLASH_ATTN") flash = value.text != "0";
    if (name == "NVTE_FUSED_ATTN") fused = value.text != "0";
  }
  // megatron/training/determinism.py, from core 0.19 on.
  if (m.deterministic && !job.strategy.cublas_workspace && m.core >= Version{0, 19, 0})
    job.strategy.cublas_workspace = 32 * kMiB;
  if (m.local || m.attention != Attention::automatic || (flash && fused)) return;
  m.attention = fused ? Attention::fused : flash ? Attention::flash : Attention::unfused;
  if (!flash && !fused) job.strategy.attention = AttentionKind::unfused;
}

}  // namespace memplan
