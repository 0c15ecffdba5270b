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

}  // namespace

void rename_for(Implementation implementation, FamilyRow& row) {
  if (implementation == Implementation::litgpt) litgpt_names(row);
}

}  // namespace memplan
