#include "lower/implementations.h"

#include <doctest/doctest.h>

#include "lower/families.h"

namespace memplan {
namespace {

FamilyRow row(std::string_view family, Implementation implementation) {
  ModelSpec model;
  model.family = family;
  model.implementation = implementation;
  return family_row(model);
}

TEST_CASE("litgpt has one matrix for queries, keys and values") {
  const FamilyRow llama = row("llama", Implementation::litgpt);
  CHECK(llama.attention.form == AttentionForm::fused);
  CHECK(llama.attention.qkv == "attn.attn");
  CHECK(llama.mlp.gate == "mlp.fc_1");
  CHECK(llama.norm == NormKind::rms);
  const FamilyRow phi = row("phi", Implementation::litgpt);
  CHECK(phi.mlp.up == "mlp.fc");
  CHECK(phi.before_mlp.empty());  // shared_attention_norm
  CHECK(phi.norm == NormKind::layer);
}

TEST_CASE("Megatron-core has one matrix for gate and up") {
  ModelSpec model;
  model.family = "megatron_gpt";
  model.implementation = Implementation::megatron;
  model.gated_mlp = true;
  model.extra = {{"rms_norm", 1}, {"learned_positions", 0}};
  const FamilyRow gpt = family_row(model);
  CHECK(gpt.attention.qkv == "self_attention.linear_qkv");
  CHECK(gpt.mlp.gate_up == "mlp.linear_fc1");
  CHECK(gpt.norm == NormKind::rms);
  CHECK(gpt.positions.empty());
  model.family = "gpt2";
  model.gated_mlp = false;
  const FamilyRow gpt2 = family_row(model);
  CHECK(gpt2.mlp.gate_up.empty());
  CHECK(gpt2.mlp.up == "mlp.linear_fc1");
  CHECK(gpt2.positions == "embedding.position_embeddings");
  CHECK_FALSE(gpt2.attention.transposed);
}

TEST_CASE("transformers' names are the rows' own") {
  CHECK(row("llama", Implementation::transformers).attention.o == "self_attn.o_proj");
}

}  // namespace
}  // namespace memplan
