#include "lower/implementations.h"

namespace memplan {
namespace {

// lit_gpt/model.py: one matrix for queries, keys and values; a gated MLP has fc_1 and fc_2.
void litgpt_names(FamilyRow& row) {
  row.base = {};
  row.layers = "transformer.h";
  row.embedding = "transformer.wte";
  row.final_norm = "transformer.ln_f";
  row.head = "lm_head";
  row.before_attention = "norm_1";
  if (!row.before_mlp.empty()) row.before_mlp = "norm_2";
  row.attention.form = AttentionForm::fused;
  row.attention.qkv = "attn.attn";
  row.attention.o = "attn.proj";
  if (row.mlp.gate.empty()) {
    row.mlp.up = "mlp.fc";
  } else {
    row.mlp.gate = "mlp.fc_1";
    row.mlp.up = "mlp.fc_2";
  }
  row.mlp.down = "mlp.proj";
}

// megatron/core/models/gpt/gpt_model.py and its layer specs: one matrix for queries, keys and
// values, one for gate and up.
void megatron_names(const ModelSpec& model, FamilyRow& row) {
  row.base = {};
  row.layers = "decoder.layers";
  row.embedding = "embedding.word_embeddings";
  if (!row.positions.empty()) row.positions = "embedding.position_embeddings";
  row.position_offset = 0;
  row.final_norm = "decoder.final_layernorm";
  row.head = "output_layer";
  if (row.form == Form::mcore_t5) {  // T5LMHead
    row.head = "lm_head.output_layer";
    row.head_bias = model.tie_embeddings;
  }
  if (row.form == Form::mcore_hybrid) row.final_norm = "decoder.final_norm";
  row.before_attention = "input_layernorm";
  row.before_mlp = "pre_mlp_layernorm";
  AttentionRow& attention = row.attention;
  if (attention.form == AttentionForm::separate) attention.form = AttentionForm::fused;
  attention.qkv = "self_attention.linear_qkv";
  attention.o = "self_attention.linear_proj";
  attention.q_norm = "self_attention.q_layernorm";
  attention.k_norm = "self_attention.k_layernorm";
  attention.transposed = false;
  attention.latent = {.q = "self_attention.linear_q_proj",
                      .q_down = "self_attention.linear_q_down_proj",
                      .q_norm = "self_attention.q_layernorm",
                      .q_up = "self_attention.linear_q_up_proj",
                      .kv_down = "self_attention.linear_kv_down_proj",
                      .kv_norm = "self_attention.kv_layernorm",
                      .kv_up = "self_attention.linear_kv_up_proj",
                      .norms = model.extra_or("no_latent_norms", 0) == 0};
  row.mlp.transposed = false;
  if (model.gated_mlp) row.mlp.gate_up = "mlp.linear_fc1";
  row.mlp.up = "mlp.linear_fc1";
  row.mlp.down = "mlp.linear_fc2";
  row.moe.router = "mlp.router";
  row.moe.experts = "mlp.experts";
  row.moe.gate_up = "linear_fc1";
  row.moe.down = "linear_fc2";
  if (!row.moe.shared.empty()) row.moe.shared = "mlp.shared_experts";
  row.moe.shared_mlp = {.gate = {}, .up = "linear_fc1", .down = "linear_fc2"};
  if (model.gated_mlp) row.moe.shared_mlp.gate_up = "linear_fc1";
}

// torchtune/modules/transformer.py, attention.py and feed_forward.py.
void torchtune_names(FamilyRow& row) {
  row.base = {};
  row.layers = "layers";
  row.embedding = "tok_embeddings";
  row.final_norm = "norm";
  row.head = "output";
  row.before_attention = "sa_norm";
  row.before_mlp = "mlp_norm";
  row.attention.q = "attn.q_proj";
  row.attention.k = "attn.k_proj";
  row.attention.v = "attn.v_proj";
  row.attention.o = "attn.output_proj";
  row.mlp.gate = "mlp.w1";
  row.mlp.up = "mlp.w3";
  row.mlp.down = "mlp.w2";
}

// torchtitan/models/llama3/model/model.py.
void torchtitan_names(FamilyRow& row) {
  row.base = {};
  row.layers = "layers";
  row.embedding = "tok_embeddings";
  row.final_norm = "norm";
  row.head = "output";
  row.before_attention = "attention_norm";
  row.before_mlp = "ffn_norm";
  row.attention.q = "attention.wq";
  row.attention.k = "attention.wk";
  row.attention.v = "attention.wv";
  row.attention.o = "attention.wo";
  row.mlp.gate = "feed_forward.w1";
  row.mlp.up = "feed_forward.w3";
  row.mlp.down = "feed_forward.w2";
}

}  // namespace

void rename_for(const ModelSpec& model, FamilyRow& row) {
  if (model.implementation == Implementation::litgpt) litgpt_names(row);
  if (model.implementation == Implementation::megatron) megatron_names(model, row);
  if (model.implementation == Implementation::torchtitan) torchtitan_names(row);
  if (model.implementation == Implementation::torchtune) torchtune_names(row);
}

}  // namespace memplan
