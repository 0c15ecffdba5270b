// Megatron-LM's arguments by what they set, before any rule is applied.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "input/megatron_text.h"

namespace memplan {

/// A value that somebody gave, or the default of megatron/training/arguments.py.
template <typename T>
struct Stated {
  T value{};
  std::string where = {};  ///< empty: nobody gave it
  bool given() const { return !where.empty(); }
};
using StatedCount = Stated<int64_t>;
using StatedReal = Stated<double>;
using StatedFlag = Stated<bool>;
using StatedWord = Stated<std::string>;
using StatedList = Stated<std::vector<std::string>>;

/// Defaults are those of megatron/training/arguments.py and the configuration classes it takes
/// arguments from (TransformerConfig, ModelParallelConfig, OptimizerConfig), core 0.18.
struct MegatronValues {
  // The model.
  StatedCount layers, encoder_layers, decoder_layers, hidden, ffn, heads, kv_channels,
      query_groups{1};
  StatedFlag grouped_query, latent_attention, untied, swiglu, squared_relu, quick_geglu;
  StatedFlag no_linear_bias, qkv_bias, qk_layernorm, rotary, no_position_embedding;
  StatedWord normalization{"LayerNorm"}, positions{"learned_absolute"};
  StatedCount max_positions, sequence, encoder_sequence, decoder_sequence;
  StatedReal rotary_percent{1.0}, attention_dropout{0.1}, hidden_dropout{0.1};
  StatedCount vocab, padded_vocab, vocab_multiple{128};
  StatedWord tokenizer;
  StatedCount q_lora_rank, kv_lora_rank{32}, qk_head_dim{128}, rope_head_dim{64}, v_head_dim{128};
  StatedCount mtp_layers;

  // Hybrid models.
  StatedWord hybrid_pattern, hybrid_override;
  StatedCount mamba_state{128}, mamba_head_dim{64}, mamba_groups{8}, mamba_heads;
  StatedFlag hybrid_model, no_fused_mamba;
  StatedReal hybrid_attention, hybrid_mlp;
  StatedWord mamba_states;
  StatedList spec;

  // Mixture of experts.
  StatedCount experts, topk{2}, expert_ffn, shared_ffn, router_groups;
  StatedWord layer_freq{"1"}, dispatcher{"allgather"}, router_dtype, score_function{"softmax"};
  StatedFlag shared_gate, grouped_gemm, permute_fusion, router_bias, shared_overlap, pre_softmax;
  StatedFlag router_fusion, pad_to_capacity;
  StatedReal capacity_factor, z_loss;
  StatedList load_balancing{{"aux_loss"}}, aux_loss{{"0"}};

  // How it is cut.
  StatedCount tp{1}, pp{1}, cp{1}, ep{1}, expert_tp;
  StatedCount virtual_layers, virtual_stages, first_stage, last_stage, micro_batch_group;
  StatedWord layout;
  StatedFlag for_embedding, for_loss, sequence_parallel, no_overlap_p2p, defer_head_wgrad;
  StatedCount wgrad_deferral_limit;
  StatedList cp_communication{{"p2p"}};
  StatedFlag distributed_optimizer, overlap_grad_reduce, overlap_param_gather, pad_buckets;
  StatedCount bucket_size, buckets, optimizer_instances{1};
  StatedFlag megatron_fsdp;
  StatedWord fsdp_sharding{"no_shard"}, fsdp_params{"fp32"}, fsdp_grads{"auto"}, fsdp_comm{"auto"};
  StatedCount communication_unit;

  // How it is trained.
  StatedCount micro_batch, global_batch;
  StatedFlag bf16, fp16, grad_reduce_bf16, grads_fp32, precision_aware;
  StatedWord main_grads{"fp32"}, main_params{"fp32"}, exp_avg{"fp32"}, exp_avg_sq{"fp32"};
  StatedWord optimizer{"adam"};
  StatedFlag muon_nesterov, muon_whole_qkv, no_layer_wise_layout;
  StatedWord muon_matmul{"medium"}, muon_tp_mode{"blockwise"}, muon_scalar{"adam"};
  StatedReal sgd_momentum{0.9}, clip{1.0};
  StatedFlag recompute_activations, moe_recompute, distribute_saved;
  StatedWord recompute_granularity, recompute_method;
  StatedCount recompute_layers;
  StatedList recompute_modules;

  // Whose kernels.
  StatedWord implementation{"transformer_engine"}, backend{"auto"}, cross_entropy_by{"native"};
  StatedFlag cross_entropy_fusion, deterministic, no_mask, no_accumulation_fusion;
  StatedFlag no_softmax_fusion, no_gelu_fusion, no_swiglu_fusion, no_dropout_fusion, no_rope_fusion;
  StatedFlag softmax_fp32, query_key_scaling;
  StatedWord fp8_format, fp8_recipe{"delayed"};
  StatedCount fp8_history{1};
  StatedFlag fp8_param_gather, tp_overlap;
  StatedFlag log_params_norm, meta_device;
  StatedWord partial_overlap, wide_wgrad;  ///< the argument that asks for it
};

/// One argument with its values.
struct MegatronArgument {
  std::string name;  ///< "--num-layers"
  std::string where;
  std::vector<MegatronWord> values;
};

enum class Takes : uint8_t { nothing, one, some };

/// An argument that memplan models (megatron_table.cc).
struct MegatronRow {
  std::string_view name;
  Takes takes;
  void (*set)(MegatronValues&, const MegatronArgument&);
};
const MegatronRow* find_megatron_row(std::string_view name);
std::vector<std::string_view> megatron_row_names();

/// Does an argument of this name change nothing that memplan counts (megatron_harmless.cc)?
bool is_harmless_megatron(std::string_view name);

/// An argument that Megatron-LM knows and memplan refuses (megatron_refused.cc).
struct MegatronRefused {
  std::string_view name;
  std::string_view neutral;  ///< the value at which it changes nothing; empty: none
  std::string_view reason;
};
std::span<const MegatronRefused> megatron_refused();
const MegatronRefused* find_megatron_refused(std::string_view name);

/// An argument that Megatron-LM itself refuses, and what stands in its place.
struct MegatronGone {
  std::string_view name, instead;
};
const MegatronGone* find_megatron_gone(std::string_view name);

/// All names that Megatron-LM knows, for hints.
std::vector<std::string_view> megatron_names();

/// Reads words as argparse does: NAME VALUE… or NAME=VALUE, the last of several counts. Throws
/// Error{bad_input} with the word's place: an unknown name (with the nearest), a value that is
/// missing, too many, no number or no choice, a text that is not known; Error{not_modelled} for an
/// argument that memplan refuses.
MegatronValues read_megatron_values(std::span<const MegatronWord> words);

}  // namespace memplan
