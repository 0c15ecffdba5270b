// The rows. Names, shapes and topology are those of huggingface/transformers 5.12.1,
// src/transformers/models/<name>/modeling_<name>.py.
//
// Keys of ModelSpec::extra that rows and blocks read (booleans 0/1; default in brackets):
//   gpt2, bert, roberta  add_cross_attention [0]
//   gpt2                 multiple_choice_head [0]: GPT2DoubleHeadsModel
//   bert                 next_sentence_head [0]: BertForPreTraining
//   opt                  word_embed_proj_dim [hidden], do_layer_norm_before [1],
//                        _remove_final_layer_norm [0], layer_norm_elementwise_affine [1]
//   falcon               new_decoder_architecture [0], num_ln_in_parallel_attn [null: absent]
//   gemma2, gemma3_text  final_logit_softcapping, attn_logit_softcapping [0]: 1 where set
//   deberta-v2           relative_attention [0], position_biased_input [1], share_att_key [0],
//                        pos_att_type [0]: 1 c2p, 2 p2c, 3 both, position_buckets [-1],
//                        max_relative_positions [-1], norm_rel_ebd [0]: 1 "layer_norm",
//                        conv_kernel_size [0], conv_groups [1], embedding_size [hidden],
//                        pooler_hidden_size [hidden], legacy [1]
//   megatron_gpt         rms_norm [0], learned_positions [1], no_positions [0],
//                        rotary_percent [100], no_latent_norms [0]: of multi-latent attention
//   t5                   relative_attention_num_buckets [32], tie_word_embeddings [1]: what the
//                        file says, which scales the decoder's output (the tie is made anyway)
#include "lower/family_table.h"

#include <array>

namespace memplan {
namespace {

constexpr AttentionRow kLlamaAttention = {};
constexpr AttentionRow kNoBiasAttention = {.bias = Bias::never, .out_bias = Bias::never};
constexpr AttentionRow kQwen3Attention = {.qk_norm = QkNorm::per_head};
constexpr MoeRow kSharedExperts = {.shared = "mlp.shared_experts"};

constexpr AttentionRow kBertAttention = {.q = "attention.self.query",
                                         .k = "attention.self.key",
                                         .v = "attention.self.value",
                                         .o = "attention.output.dense",
                                         .bias = Bias::always,
                                         .out_bias = Bias::always};
constexpr MlpRow kBertMlp = {
    .gate = {}, .up = "intermediate.dense", .down = "output.dense", .bias = Bias::always};

constexpr MlpRow kNeoxMlp = {
    .gate = {}, .up = "mlp.dense_h_to_4h", .down = "mlp.dense_4h_to_h", .bias = Bias::always};

// BERT's layer, by any base name.
constexpr FamilyRow bert_row(std::string_view name, std::string_view base) {
  FamilyRow row;
  row.name = name;
  row.form = Form::encoder;
  row.base = base;
  row.layers = "encoder.layer";
  row.embedding = "embeddings.word_embeddings";
  row.positions = "embeddings.position_embeddings";
  row.embedding_norm = "embeddings.LayerNorm";
  row.final_norm = {};
  row.norm = NormKind::layer;
  row.residual = Residual::add_then_norm;
  row.before_attention = row.before_mlp = {};
  row.after_attention = "attention.output.LayerNorm";
  row.after_mlp = "output.LayerNorm";
  row.attention = kBertAttention;
  row.mlp = kBertMlp;
  return row;
}

constexpr FamilyRow deberta_row() {
  FamilyRow row = bert_row("deberta-v2", "deberta.");
  row.form = Form::deberta;
  row.attention.q = "attention.self.query_proj";
  row.attention.k = "attention.self.key_proj";
  row.attention.v = "attention.self.value_proj";
  row.attention.square_output = true;
  return row;
}

// A llama with other attention or experts.
constexpr FamilyRow llama_row(std::string_view name, AttentionRow attention = kLlamaAttention,
                              MlpRow mlp = {}, MoeRow moe = {}) {
  FamilyRow row;
  row.name = name;
  row.attention = attention;
  row.mlp = mlp;
  row.moe = moe;
  return row;
}

constexpr FamilyRow sandwich_row(std::string_view name, AttentionRow attention) {
  FamilyRow row = llama_row(name, attention);
  row.after_attention = "post_attention_layernorm";
  row.before_mlp = "pre_feedforward_layernorm";
  row.after_mlp = "post_feedforward_layernorm";
  return row;
}

// Attention and MLP side by side under one norm.
void share_norm(FamilyRow& row) {
  row.residual = Residual::parallel;
  row.before_mlp = {};
}

void adapt_gpt_neox(const ModelSpec& model, FamilyRow& row) {
  if (model.parallel_residual) row.residual = Residual::parallel;
}

void adapt_stablelm(const ModelSpec& model, FamilyRow& row) {
  if (model.parallel_residual) share_norm(row);
}

void adapt_opt(const ModelSpec& model, FamilyRow& row) {
  if (model.extra_or("layer_norm_elementwise_affine", 1) == 0) {
    row.norm = NormKind::layer_no_parameters;
  }
  const bool norm_first = model.extra_or("do_layer_norm_before", 1) != 0;
  if (!norm_first) {
    row.residual = Residual::add_then_norm;
    row.after_attention = row.before_attention;
    row.after_mlp = row.before_mlp;
    row.before_attention = row.before_mlp = {};
  }
  if (!norm_first || model.extra_or("_remove_final_layer_norm", 0) != 0) row.final_norm = {};
}

void adapt_falcon(const ModelSpec& model, FamilyRow& row) {
  if (!model.parallel_residual) return;
  const int64_t usual = model.extra_or("new_decoder_architecture", 0) != 0 ? 2 : 1;
  row.attention.dropout_after = false;
  if (model.extra_or("num_ln_in_parallel_attn", usual) == 2) {
    row.residual = Residual::parallel;
    row.before_attention = "ln_attn";
    row.before_mlp = "ln_mlp";
  } else {
    share_norm(row);
  }
}

// GPTModel of Megatron-core: what --normalization and --position-embedding-type choose.
void adapt_megatron_gpt(const ModelSpec& model, FamilyRow& row) {
  if (model.extra_or("rms_norm", 0) != 0) row.norm = NormKind::rms;
  if (model.extra_or("learned_positions", 1) != 0) row.positions = "embedding.position_embeddings";
  if (model.mla.kv_lora_rank > 0) row.attention.form = AttentionForm::latent;
  row.moe.gated = model.gated_mlp;
  row.moe.expert_bias = model.mlp_bias;
}

constexpr std::array kTable = {
    llama_row("llama", kLlamaAttention, {.bias = Bias::config}),
    llama_row("mistral", kNoBiasAttention),
    llama_row("mixtral", kNoBiasAttention),
    llama_row("qwen2", {.bias = Bias::always, .out_bias = Bias::never}),
    llama_row("qwen2_moe", {.out_bias = Bias::never}, {},
              {.shared = "mlp.shared_expert", .shared_gate = "mlp.shared_expert_gate"}),
    llama_row("qwen3", kQwen3Attention),
    llama_row("qwen3_moe", kQwen3Attention),
    llama_row("gemma"),
    sandwich_row("gemma2", kLlamaAttention),
    sandwich_row("gemma3_text", kQwen3Attention),
    FamilyRow{.name = "gpt2",
              .base = "transformer.",
              .layers = "h",
              .embedding = "wte",
              .positions = "wpe",
              .final_norm = "ln_f",
              .norm = NormKind::layer,
              .before_attention = "ln_1",
              .before_mlp = "ln_2",
              .attention = {.form = AttentionForm::fused,
                            .qkv = "attn.c_attn",
                            .o = "attn.c_proj",
                            .bias = Bias::always,
                            .out_bias = Bias::always,
                            .transposed = true},
              .mlp = {.gate = {},
                      .up = "mlp.c_fc",
                      .down = "mlp.c_proj",
                      .bias = Bias::always,
                      .transposed = true}},
    FamilyRow{.name = "gpt_neox",
              .base = "gpt_neox.",
              .embedding = "embed_in",
              .final_norm = "final_layer_norm",
              .head = "embed_out",
              .norm = NormKind::layer,
              .attention = {.form = AttentionForm::fused,
                            .qkv = "attention.query_key_value",
                            .o = "attention.dense"},
              .mlp = kNeoxMlp,
              .adapt = adapt_gpt_neox},
    FamilyRow{.name = "gptj",
              .base = "transformer.",
              .layers = "h",
              .embedding = "wte",
              .final_norm = "ln_f",
              .head_bias = true,
              .norm = NormKind::layer,
              .residual = Residual::parallel,
              .before_attention = "ln_1",
              .before_mlp = {},
              .attention = {.q = "attn.q_proj",
                            .k = "attn.k_proj",
                            .v = "attn.v_proj",
                            .o = "attn.out_proj",
                            .bias = Bias::never,
                            .out_bias = Bias::never},
              .mlp = {.gate = {}, .up = "mlp.fc_in", .down = "mlp.fc_out", .bias = Bias::always}},
    FamilyRow{.name = "opt",
              .layers = "decoder.layers",
              .embedding = "decoder.embed_tokens",
              .positions = "decoder.embed_positions",
              .position_offset = 2,  // OPTLearnedPositionalEmbedding
              .final_norm = "decoder.final_layer_norm",
              .norm = NormKind::layer,
              .before_attention = "self_attn_layer_norm",
              .before_mlp = "final_layer_norm",
              .attention = {.o = "self_attn.out_proj"},
              .mlp = {.gate = {}, .up = "fc1", .down = "fc2", .bias = Bias::config},
              .adapt = adapt_opt},
    FamilyRow{.name = "bloom",
              .base = "transformer.",
              .layers = "h",
              .embedding = "word_embeddings",
              .embedding_norm = "word_embeddings_layernorm",
              .final_norm = "ln_f",
              .norm = NormKind::layer,
              .attention = {.form = AttentionForm::fused,
                            .qkv = "self_attention.query_key_value",
                            .o = "self_attention.dense",
                            .bias = Bias::always,
                            .out_bias = Bias::always},
              .mlp = kNeoxMlp},
    FamilyRow{.name = "falcon",
              .base = "transformer.",
              .layers = "h",
              .embedding = "word_embeddings",
              .final_norm = "ln_f",
              .norm = NormKind::layer,
              .attention = {.form = AttentionForm::fused,
                            .qkv = "self_attention.query_key_value",
                            .o = "self_attention.dense"},
              .mlp = {.gate = {},
                      .up = "mlp.dense_h_to_4h",
                      .down = "mlp.dense_4h_to_h",
                      .bias = Bias::config},
              .own_linear = true,  // FalconLinear
              .adapt = adapt_falcon},
    FamilyRow{.name = "phi",
              .final_norm = "final_layernorm",
              .head_bias = true,
              .norm = NormKind::layer,
              .residual = Residual::parallel,
              .before_mlp = {},
              .attention = {.o = "self_attn.dense",
                            .bias = Bias::always,
                            .out_bias = Bias::always,
                            .qk_norm = QkNorm::per_head,
                            .qk_norm_by_config = true,
                            .q_norm = "self_attn.q_layernorm",
                            .k_norm = "self_attn.k_layernorm"},
              .mlp = {.gate = {}, .up = "mlp.fc1", .down = "mlp.fc2", .bias = Bias::always}},
    llama_row("phi3",
              {.form = AttentionForm::fused,
               .qkv = "self_attn.qkv_proj",
               .bias = Bias::never,
               .out_bias = Bias::never},
              {.gate_up = "mlp.gate_up_proj"}),
    FamilyRow{.name = "olmo2",
              .before_attention = {},
              .after_attention = "post_attention_layernorm",
              .before_mlp = {},
              .after_mlp = "post_feedforward_layernorm",
              .attention = {.qk_norm = QkNorm::whole}},
    FamilyRow{.name = "starcoder2",
              .norm = NormKind::layer,
              .mlp = {.gate = {}, .up = "mlp.c_fc", .down = "mlp.c_proj", .bias = Bias::config}},
    FamilyRow{.name = "stablelm",
              .norm = NormKind::layer,
              .attention = {.out_bias = Bias::never,
                            .qk_norm = QkNorm::per_head_list,
                            .qk_norm_by_config = true,
                            .q_norm = "self_attn.q_layernorm",
                            .k_norm = "self_attn.k_layernorm",
                            .dropout_after = false},
              .adapt = adapt_stablelm},
    llama_row("granite", kLlamaAttention, {.bias = Bias::config}),
    FamilyRow{.name = "cohere",
              .norm = NormKind::layer_no_bias,
              .residual = Residual::parallel,
              .before_mlp = {},
              .attention = {.qk_norm = QkNorm::matrix, .qk_norm_by_config = true}},
    llama_row("deepseek_v2", {.form = AttentionForm::latent}, {.bias = Bias::config},
              kSharedExperts),
    llama_row("deepseek_v3", {.form = AttentionForm::latent}, {}, kSharedExperts),
    llama_row("gpt_oss", {.sinks = "self_attn.sinks"}, {},
              {.router = "mlp.router", .bias = true, .transposed = true}),
    // GPTModel of NVIDIA/Megatron-LM, megatron/core/models/gpt/gpt_model.py, core 0.18; the names
    // of its modules are those of Implementation::megatron.
    FamilyRow{.name = "megatron_gpt",
              .norm = NormKind::layer,
              .attention = {.out_bias = Bias::config,
                            .qk_norm = QkNorm::per_head,
                            .qk_norm_by_config = true},
              .mlp = {.gate = {}, .bias = Bias::config},
              .moe = {.shared = "mlp.shared_experts"},
              .adapt = adapt_megatron_gpt},
    // MambaModel, megatron/core/models/mamba/mamba_model.py.
    FamilyRow{.name = "megatron_hybrid",
              .form = Form::mcore_hybrid,
              .norm = NormKind::layer,
              .attention = {.out_bias = Bias::config,
                            .qk_norm = QkNorm::per_head,
                            .qk_norm_by_config = true},
              .mlp = {.gate = {}, .bias = Bias::config},
              .moe = {.shared = "mlp.shared_experts"},
              .adapt = adapt_megatron_gpt},
    // T5Model, megatron/core/models/T5/t5_model.py.
    FamilyRow{.name = "megatron_t5",
              .form = Form::mcore_t5,
              .norm = NormKind::layer,
              .attention = {.out_bias = Bias::config},
              .mlp = {.gate = {}, .bias = Bias::config},
              .adapt = adapt_megatron_gpt},
    bert_row("bert", "bert."),
    bert_row("roberta", "roberta."),
    deberta_row(),
    FamilyRow{.name = "t5",
              .form = Form::t5,
              .base = "transformer.",  // of a classifier; absent otherwise
              .embedding = "shared",
              .attention = {.bias = Bias::never, .out_bias = Bias::never},
              .kept_wide = "wo"},
};

}  // namespace

std::span<const FamilyRow> family_table() { return kTable; }

}  // namespace memplan
