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

TEST_CASE("transformers' names are the rows' own") {
  CHECK(row("llama", Implementation::transformers).attention.o == "self_attn.o_proj");
}

}  // namespace
}  // namespace memplan
