// StarCoder2 (transformers/models/starcoder2/modeling_starcoder2.py).
#include "lower/huggingface/variants.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

Tensor mlp(const Forward& f, const Params& p, const Tensor& given) {
  Tensor x = linear(f, p, f.row.mlp.up, given);
  x = called(f, p, "act", {}, x,
             [&](const Tensor& up) { return activation(up, f.model.activation); });
  x = linear(f, p, f.row.mlp.down, x);
  return dropout(x, f.model.dropout.hidden);
}

Tensor layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  Tensor residual = hidden;
  Tensor x = row_norm(f, p, f.row.before_attention, hidden);
  {
    const Tensor output = called_attention(f, p, [&] { return decoder_attention(f, p, kind, x); });
    x = dropout(output, f.model.dropout.hidden);
  }
  x = add(residual, x);
  residual = x;
  x = row_norm(f, p, f.row.before_mlp, x);
  x = called(f, p, "mlp", {}, x, [&](const Tensor& input) { return mlp(f, p, input); });
  return add(residual, x);
}

Tensor embed(Forward& f, const Params& p) {
  f.inputs_embeds = embed_tokens(f, p);
  prepare_positions(f);
  prepare_masks(f);
  Tensor hidden = dropout(f.inputs_embeds, f.model.dropout.embedding);
  prepare_rotary(f, p);
  return hidden;
}

}  // namespace

Family starcoder2() {
  return named({"starcoder2", layer, embed, decoder_finish, causal_lm_loss, rotary_buffers});
}

}  // namespace memplan::hf
