// The arguments that memplan models: name, how many values, what they set.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "input/megatron_values.h"
#include "memplan/error.h"
#include "memplan/units.h"

namespace memplan {
namespace {

using V = MegatronValues;
using A = MegatronArgument;

[[noreturn]] void bad(const A& argument, std::string problem, std::string hint) {
  const std::string& where =
      argument.values.empty() ? argument.where : argument.values.front().where;
  throw Error(ErrorKind::bad_input, where, argument.name + ": " + std::move(problem),
              std::move(hint));
}

template <StatedFlag V::*Member>
void flag(V& values, const A& argument) {
  values.*Member = {true, argument.where};
}
// One of several flags that say as much.
template <StatedWord V::*Member>
void named(V& values, const A& argument) {
  values.*Member = {argument.name, argument.where};
}

int64_t whole(const A& argument, int64_t least) {
  const std::string& text = argument.values.front().text;
  const std::string hint = "give a whole number from " + std::to_string(least) + " up";
  int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool complete = end == text.data() + text.size() && !text.empty();
  if (complete && (status == std::errc::result_out_of_range || value > kMaxCount))
    bad(argument, printable(text) + " is too large", "at most " + format_count(kMaxCount));
  if (status != std::errc() || !complete)
    bad(argument, "'" + printable(text) + "' is not a whole number", hint);
  if (value < least) bad(argument, text + " is too small", hint);
  return value;
}
template <StatedCount V::*Member, int64_t least = 1>
void count(V& values, const A& argument) {
  values.*Member = {whole(argument, least), argument.values.front().where};
}

double number(const A& argument, const std::string& text) {
  double value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    bad(argument, "'" + printable(text) + "' is not a number", "give a number such as 0.1");
  return value;
}
template <StatedReal V::*Member>
void real(V& values, const A& argument) {
  const double value = number(argument, argument.values.front().text);
  if (value < 0) bad(argument, argument.values.front().text + " is negative", "give 0 or more");
  values.*Member = {value, argument.values.front().where};
}
template <StatedReal V::*Member>
void share(V& values, const A& argument) {
  real<Member>(values, argument);
  if ((values.*Member).value > 1)
    bad(argument, argument.values.front().text + " is no share", "give a number from 0 to 1");
}

template <StatedWord V::*Member>
void word(V& values, const A& argument) {
  values.*Member = {argument.values.front().text, argument.values.front().where};
}

void require_choice(const A& argument, const std::string& text,
                    const std::vector<std::string_view>& choices) {
  if (std::ranges::find(choices, text) == choices.end())
    bad(argument, "'" + printable(text) + "' is no choice", name_hint(text, choices));
}
template <StatedWord V::*Member, const auto& choices>
void choice(V& values, const A& argument) {
  const std::string& text = argument.values.front().text;
  require_choice(argument, text, {choices.begin(), choices.end()});
  word<Member>(values, argument);
}
template <StatedList V::*Member, const auto& choices>
void list(V& values, const A& argument) {
  StatedList& out = values.*Member;
  out = {{}, argument.where};
  for (const MegatronWord& value : argument.values) {
    if (!choices.empty()) require_choice(argument, value.text, {choices.begin(), choices.end()});
    out.value.push_back(value.text);
  }
}
template <StatedList V::*Member>
void reals(V& values, const A& argument) {
  StatedList& out = values.*Member;
  out = {{}, argument.where};
  for (const MegatronWord& value : argument.values) {
    number(argument, value.text);
    out.value.push_back(value.text);
  }
}

// Choices that Megatron-LM has and memplan lacks are refused where they are applied.
constexpr std::array<std::string_view, 0> kAnything{};
constexpr std::array<std::string_view, 2> kFp8Formats{"e4m3", "hybrid"};
constexpr std::array<std::string_view, 5> kFp8Recipes{"tensorwise", "delayed", "mxfp8", "blockwise",
                                                      "custom"};
constexpr std::array<std::string_view, 2> kNorms{"LayerNorm", "RMSNorm"};
constexpr std::array<std::string_view, 6> kPositions{"learned_absolute", "rope", "yarn", "mrope",
                                                     "relative",         "none"};
constexpr std::array<std::string_view, 3> kImplementations{"local", "transformer_engine",
                                                           "inference_optimized"};
constexpr std::array<std::string_view, 5> kBackends{"flash", "fused", "unfused", "local", "auto"};
constexpr std::array<std::string_view, 2> kFusions{"native", "te"};
constexpr std::array<std::string_view, 3> kDispatchers{"allgather", "alltoall", "flex"};
constexpr std::array<std::string_view, 3> kScores{"softmax", "sigmoid", "sqrtsoftplus"};
constexpr std::array<std::string_view, 2> kRouterDtypes{"fp32", "fp64"};
constexpr std::array<std::string_view, 6> kBalancing{
    "aux_loss", "seq_aux_loss", "global_aux_loss", "sinkhorn", "quantile_balancing", "none"};
constexpr std::array<std::string_view, 2> kGranularities{"full", "selective"};
constexpr std::array<std::string_view, 2> kMethods{"uniform", "block"};
constexpr std::array<std::string_view, 11> kModules{
    "core_attn",      "moe_act",      "layernorm",   "mla_up_proj", "mlp", "moe",
    "shared_experts", "gdn_norm_out", "gdp_in_proj", "gdp_qkv",     "mhc"};
constexpr std::array<std::string_view, 7> kOptimizers{"adam", "sgd",  "muon",         "dist_muon",
                                                      "lion", "soap", "adaptive_muon"};
constexpr std::array<std::string_view, 3> kMuonProducts{"low", "medium", "high"};
constexpr std::array<std::string_view, 3> kMuonModes{"blockwise", "duplicated", "distributed"};
constexpr std::array<std::string_view, 2> kMuonScalars{"adam", "lion"};
constexpr std::array<std::string_view, 2> kMainGrads{"fp32", "bf16"};
constexpr std::array<std::string_view, 2> kMainParams{"fp32", "fp16"};
constexpr std::array<std::string_view, 4> kMoments{"fp32", "fp16", "bf16", "fp8"};
constexpr std::array<std::string_view, 4> kSharding{"no_shard", "optim", "optim_grads",
                                                    "optim_grads_params"};
constexpr std::array<std::string_view, 4> kFsdpDtypes{"fp32", "bf16", "fp16", "auto"};
constexpr std::array<std::string_view, 4> kContext{"p2p", "all_gather", "a2a", "a2a+p2p"};
constexpr std::array<std::string_view, 12> kTokenizers{
    "BertWordPieceLowerCase",    "BertWordPieceCase",
    "GPT2BPETokenizer",          "SentencePieceTokenizer",
    "GPTSentencePieceTokenizer", "HuggingFaceTokenizer",
    "Llama2Tokenizer",           "TikTokenizer",
    "MultimodalTokenizer",       "NullTokenizer",
    "NullMultimodalTokenizer",   "SFTTokenizer"};

constexpr auto kRows = std::to_array<MegatronRow>({
    {"--num-layers", Takes::one, count<&V::layers>},
    {"--encoder-num-layers", Takes::one, count<&V::encoder_layers>},
    {"--decoder-num-layers", Takes::one, count<&V::decoder_layers>},
    {"--hidden-size", Takes::one, count<&V::hidden>},
    {"--ffn-hidden-size", Takes::one, count<&V::ffn>},
    {"--num-attention-heads", Takes::one, count<&V::heads>},
    {"--kv-channels", Takes::one, count<&V::kv_channels>},
    {"--group-query-attention", Takes::nothing, flag<&V::grouped_query>},
    {"--num-query-groups", Takes::one, count<&V::query_groups>},
    {"--untie-embeddings-and-output-weights", Takes::nothing, flag<&V::untied>},
    {"--swiglu", Takes::nothing, flag<&V::swiglu>},
    {"--squared-relu", Takes::nothing, flag<&V::squared_relu>},
    {"--quick-geglu", Takes::nothing, flag<&V::quick_geglu>},
    {"--disable-bias-linear", Takes::nothing, flag<&V::no_linear_bias>},
    {"--add-qkv-bias", Takes::nothing, flag<&V::qkv_bias>},
    {"--qk-layernorm", Takes::nothing, flag<&V::qk_layernorm>},
    {"--normalization", Takes::one, choice<&V::normalization, kNorms>},
    {"--position-embedding-type", Takes::one, choice<&V::positions, kPositions>},
    {"--use-rotary-position-embeddings", Takes::nothing, flag<&V::rotary>},
    {"--no-position-embedding", Takes::nothing, flag<&V::no_position_embedding>},
    {"--rotary-percent", Takes::one, share<&V::rotary_percent>},
    {"--max-position-embeddings", Takes::one, count<&V::max_positions>},
    {"--seq-length", Takes::one, count<&V::sequence>},
    {"--encoder-seq-length", Takes::one, count<&V::encoder_sequence>},
    {"--decoder-seq-length", Takes::one, count<&V::decoder_sequence>},
    {"--attention-dropout", Takes::one, share<&V::attention_dropout>},
    {"--hidden-dropout", Takes::one, share<&V::hidden_dropout>},
    {"--vocab-size", Takes::one, count<&V::vocab>},
    {"--padded-vocab-size", Takes::one, count<&V::padded_vocab>},
    {"--make-vocab-size-divisible-by", Takes::one, count<&V::vocab_multiple>},
    {"--tokenizer-type", Takes::one, choice<&V::tokenizer, kTokenizers>},
    {"--multi-latent-attention", Takes::nothing, flag<&V::latent_attention>},
    {"--q-lora-rank", Takes::one, count<&V::q_lora_rank>},
    {"--kv-lora-rank", Takes::one, count<&V::kv_lora_rank>},
    {"--qk-head-dim", Takes::one, count<&V::qk_head_dim>},
    {"--qk-pos-emb-head-dim", Takes::one, count<&V::rope_head_dim>},
    {"--v-head-dim", Takes::one, count<&V::v_head_dim>},
    {"--mtp-num-layers", Takes::one, count<&V::mtp_layers, 0>},
    {"--is-hybrid-model", Takes::nothing, flag<&V::hybrid_model>},
    {"--hybrid-layer-pattern", Takes::one, word<&V::hybrid_pattern>},
    {"--hybrid-override-pattern", Takes::one, word<&V::hybrid_override>},
    {"--hybrid-attention-ratio", Takes::one, share<&V::hybrid_attention>},
    {"--hybrid-mlp-ratio", Takes::one, share<&V::hybrid_mlp>},
    {"--mamba-state-dim", Takes::one, count<&V::mamba_state>},
    {"--mamba-head-dim", Takes::one, count<&V::mamba_head_dim>},
    {"--mamba-num-groups", Takes::one, count<&V::mamba_groups>},
    {"--mamba-num-heads", Takes::one, count<&V::mamba_heads>},
    {"--mamba-training-ssm-states-dtype", Takes::one, word<&V::mamba_states>},
    {"--disable-mamba-mem-eff-path", Takes::nothing, flag<&V::no_fused_mamba>},
    {"--spec", Takes::some, list<&V::spec, kAnything>},

    {"--num-experts", Takes::one, count<&V::experts, 0>},
    {"--moe-router-topk", Takes::one, count<&V::topk>},
    {"--moe-ffn-hidden-size", Takes::one, count<&V::expert_ffn>},
    {"--moe-shared-expert-intermediate-size", Takes::one, count<&V::shared_ffn>},
    {"--moe-shared-expert-gate", Takes::nothing, flag<&V::shared_gate>},
    {"--moe-shared-expert-overlap", Takes::nothing, flag<&V::shared_overlap>},
    {"--moe-layer-freq", Takes::one, word<&V::layer_freq>},
    {"--moe-grouped-gemm", Takes::nothing, flag<&V::grouped_gemm>},
    {"--moe-permute-fusion", Takes::nothing, flag<&V::permute_fusion>},
    {"--moe-token-dispatcher-type", Takes::one, choice<&V::dispatcher, kDispatchers>},
    {"--moe-router-dtype", Takes::one, choice<&V::router_dtype, kRouterDtypes>},
    {"--moe-router-score-function", Takes::one, choice<&V::score_function, kScores>},
    {"--moe-router-enable-expert-bias", Takes::nothing, flag<&V::router_bias>},
    {"--moe-router-pre-softmax", Takes::nothing, flag<&V::pre_softmax>},
    {"--moe-router-fusion", Takes::nothing, flag<&V::router_fusion>},
    {"--moe-router-num-groups", Takes::one, count<&V::router_groups>},
    {"--moe-router-load-balancing-type", Takes::some, list<&V::load_balancing, kBalancing>},
    {"--moe-aux-loss-coeff", Takes::some, reals<&V::aux_loss>},
    {"--moe-z-loss-coeff", Takes::one, real<&V::z_loss>},
    {"--moe-expert-capacity-factor", Takes::one, real<&V::capacity_factor>},
    {"--moe-pad-expert-input-to-capacity", Takes::nothing, flag<&V::pad_to_capacity>},

    {"--tensor-model-parallel-size", Takes::one, count<&V::tp>},
    {"--pipeline-model-parallel-size", Takes::one, count<&V::pp>},
    {"--context-parallel-size", Takes::one, count<&V::cp>},
    {"--expert-model-parallel-size", Takes::one, count<&V::ep>},
    {"--expert-tensor-parallel-size", Takes::one, count<&V::expert_tp>},
    {"--num-layers-per-virtual-pipeline-stage", Takes::one, count<&V::virtual_layers>},
    {"--num-virtual-stages-per-pipeline-rank", Takes::one, count<&V::virtual_stages>},
    {"--decoder-first-pipeline-num-layers", Takes::one, count<&V::first_stage>},
    {"--decoder-last-pipeline-num-layers", Takes::one, count<&V::last_stage>},
    {"--microbatch-group-size-per-virtual-pipeline-stage", Takes::one,
     count<&V::micro_batch_group>},
    {"--pipeline-model-parallel-layout", Takes::one, word<&V::layout>},
    {"--account-for-embedding-in-pipeline-split", Takes::nothing, flag<&V::for_embedding>},
    {"--account-for-loss-in-pipeline-split", Takes::nothing, flag<&V::for_loss>},
    {"--no-overlap-p2p-communication", Takes::nothing, flag<&V::no_overlap_p2p>},
    {"--defer-embedding-wgrad-compute", Takes::nothing, flag<&V::defer_head_wgrad>},
    {"--wgrad-deferral-limit", Takes::one, count<&V::wgrad_deferral_limit, 0>},
    {"--sequence-parallel", Takes::nothing, flag<&V::sequence_parallel>},
    {"--cp-comm-type", Takes::some, list<&V::cp_communication, kContext>},
    {"--use-distributed-optimizer", Takes::nothing, flag<&V::distributed_optimizer>},
    {"--num-distributed-optimizer-instances", Takes::one, count<&V::optimizer_instances>},
    {"--overlap-grad-reduce", Takes::nothing, flag<&V::overlap_grad_reduce>},
    {"--overlap-param-gather", Takes::nothing, flag<&V::overlap_param_gather>},
    {"--ddp-bucket-size", Takes::one, count<&V::bucket_size>},
    {"--ddp-num-buckets", Takes::one, count<&V::buckets>},
    {"--ddp-pad-buckets-for-high-nccl-busbw", Takes::nothing, flag<&V::pad_buckets>},
    {"--use-megatron-fsdp", Takes::nothing, flag<&V::megatron_fsdp>},
    {"--use-custom-fsdp", Takes::nothing, flag<&V::megatron_fsdp>},
    {"--data-parallel-sharding-strategy", Takes::one, choice<&V::fsdp_sharding, kSharding>},
    {"--megatron-fsdp-main-params-dtype", Takes::one, choice<&V::fsdp_params, kFsdpDtypes>},
    {"--megatron-fsdp-main-grads-dtype", Takes::one, choice<&V::fsdp_grads, kFsdpDtypes>},
    {"--megatron-fsdp-grad-comm-dtype", Takes::one, choice<&V::fsdp_comm, kFsdpDtypes>},
    {"--suggested-communication-unit-size", Takes::one, count<&V::communication_unit>},

    {"--micro-batch-size", Takes::one, count<&V::micro_batch>},
    {"--global-batch-size", Takes::one, count<&V::global_batch>},
    {"--bf16", Takes::nothing, flag<&V::bf16>},
    {"--fp16", Takes::nothing, flag<&V::fp16>},
    {"--grad-reduce-in-bf16", Takes::nothing, flag<&V::grad_reduce_bf16>},
    {"--accumulate-allreduce-grads-in-fp32", Takes::nothing, flag<&V::grads_fp32>},
    {"--use-precision-aware-optimizer", Takes::nothing, flag<&V::precision_aware>},
    {"--main-grads-dtype", Takes::one, choice<&V::main_grads, kMainGrads>},
    {"--main-params-dtype", Takes::one, choice<&V::main_params, kMainParams>},
    {"--exp-avg-dtype", Takes::one, choice<&V::exp_avg, kMoments>},
    {"--exp-avg-sq-dtype", Takes::one, choice<&V::exp_avg_sq, kMoments>},
    {"--optimizer", Takes::one, choice<&V::optimizer, kOptimizers>},
    {"--muon-nesterov", Takes::nothing, flag<&V::muon_nesterov>},
    {"--muon-use-nesterov", Takes::nothing, flag<&V::muon_nesterov>},
    {"--muon-no-split-qkv", Takes::nothing, flag<&V::muon_whole_qkv>},
    {"--muon-fp32-matmul-prec", Takes::one, choice<&V::muon_matmul, kMuonProducts>},
    {"--muon-tp-mode", Takes::one, choice<&V::muon_tp_mode, kMuonModes>},
    {"--muon-scalar-optimizer", Takes::one, choice<&V::muon_scalar, kMuonScalars>},
    {"--no-use-layer-wise-param-layout", Takes::nothing, flag<&V::no_layer_wise_layout>},
    {"--sgd-momentum", Takes::one, real<&V::sgd_momentum>},
    {"--clip-grad", Takes::one, real<&V::clip>},
    {"--recompute-activations", Takes::nothing, flag<&V::recompute_activations>},
    {"--recompute-granularity", Takes::one, choice<&V::recompute_granularity, kGranularities>},
    {"--recompute-method", Takes::one, choice<&V::recompute_method, kMethods>},
    {"--recompute-num-layers", Takes::one, count<&V::recompute_layers>},
    {"--recompute-modules", Takes::some, list<&V::recompute_modules, kModules>},
    {"--moe-layer-recompute", Takes::nothing, flag<&V::moe_recompute>},
    {"--distribute-saved-activations", Takes::nothing, flag<&V::distribute_saved>},

    {"--transformer-impl", Takes::one, choice<&V::implementation, kImplementations>},
    {"--attention-backend", Takes::one, choice<&V::backend, kBackends>},
    {"--fp8-format", Takes::one, choice<&V::fp8_format, kFp8Formats>},
    {"--fp8-recipe", Takes::one, choice<&V::fp8_recipe, kFp8Recipes>},
    {"--fp8-amax-history-len", Takes::one, count<&V::fp8_history>},
    {"--log-params-norm", Takes::nothing, flag<&V::log_params_norm>},
    {"--init-model-with-meta-device", Takes::nothing, flag<&V::meta_device>},
    {"--fp8-param-gather", Takes::nothing, flag<&V::fp8_param_gather>},
    {"--tp-comm-overlap", Takes::nothing, flag<&V::tp_overlap>},
    {"--disable-tp-comm-bulk-dgrad", Takes::nothing, named<&V::partial_overlap>},
    {"--disable-tp-comm-bulk-wgrad", Takes::nothing, named<&V::partial_overlap>},
    {"--disable-tp-comm-overlap-ag", Takes::nothing, named<&V::partial_overlap>},
    {"--disable-tp-comm-overlap-rs", Takes::nothing, named<&V::partial_overlap>},
    {"--disable-tp-comm-split-ag", Takes::nothing, named<&V::partial_overlap>},
    {"--disable-tp-comm-split-rs", Takes::nothing, named<&V::partial_overlap>},
    {"--no-tp-comm-bulk-dgrad", Takes::nothing, named<&V::partial_overlap>},
    {"--no-tp-comm-bulk-wgrad", Takes::nothing, named<&V::partial_overlap>},
    {"--no-tp-comm-overlap-ag", Takes::nothing, named<&V::partial_overlap>},
    {"--no-tp-comm-overlap-rs", Takes::nothing, named<&V::partial_overlap>},
    {"--no-tp-comm-split-ag", Takes::nothing, named<&V::partial_overlap>},
    {"--no-tp-comm-split-rs", Takes::nothing, named<&V::partial_overlap>},
    {"--tp-comm-overlap-rs-dgrad", Takes::nothing, named<&V::partial_overlap>},
    {"--disable-fp8-wgrad", Takes::nothing, named<&V::wide_wgrad>},
    {"--no-fp8-wgrad", Takes::nothing, named<&V::wide_wgrad>},
    {"--attention-softmax-in-fp32", Takes::nothing, flag<&V::softmax_fp32>},
    {"--apply-query-key-layer-scaling", Takes::nothing, flag<&V::query_key_scaling>},
    {"--cross-entropy-loss-fusion", Takes::nothing, flag<&V::cross_entropy_fusion>},
    {"--cross-entropy-fusion-impl", Takes::one, choice<&V::cross_entropy_by, kFusions>},
    {"--deterministic-mode", Takes::nothing, flag<&V::deterministic>},
    {"--no-create-attention-mask-in-dataloader", Takes::nothing, flag<&V::no_mask>},
    {"--no-masked-softmax-fusion", Takes::nothing, flag<&V::no_softmax_fusion>},
    {"--no-bias-gelu-fusion", Takes::nothing, flag<&V::no_gelu_fusion>},
    {"--no-bias-swiglu-fusion", Takes::nothing, flag<&V::no_swiglu_fusion>},
    {"--no-bias-dropout-fusion", Takes::nothing, flag<&V::no_dropout_fusion>},
    {"--no-rope-fusion", Takes::nothing, flag<&V::no_rope_fusion>},
    {"--no-gradient-accumulation-fusion", Takes::nothing, flag<&V::no_accumulation_fusion>},
});

}  // namespace

const MegatronRow* find_megatron_row(std::string_view name) {
  const auto* row = std::ranges::find(kRows, name, &MegatronRow::name);
  return row == kRows.end() ? nullptr : row;
}

std::vector<std::string_view> megatron_row_names() {
  std::vector<std::string_view> out;
  for (const MegatronRow& row : kRows) out.push_back(row.name);
  return out;
}

}  // namespace memplan
