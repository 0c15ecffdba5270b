// Granite: Llama with multipliers (transformers/models/granite/modeling_granite.py).
#include "lower/huggingface/variants.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

Tensor layer(Forward& f, const Params& p, const LayerKind& kind, const Tensor& hidden) {
  Tensor residual = hidden;
  Tensor x = row_norm(f, p, f.row.before_attention, hidden);
  x = called_attention(f, p, [&] { return decoder_attention(f, p, kind, x); });
  {
    const Tensor scaled = mul_scalar(x);
    x = add(residual, scaled);
  }
  residual = x;
  x = row_norm(f, p, f.row.before_mlp, x);
  x = called_mlp(f, p, x);
  const Tensor scaled = mul_scalar(x);
  return add(residual, scaled);
}

Tensor embed(Forward& f, const Params& p) {
  f.inputs_embeds = embed_tokens(f, p);
  f.inputs_embeds = mul_scalar(f.inputs_embeds);
  prepare_positions(f);
  prepare_masks(f);
  rotary_embedding(f, rotary_width(f.model), f.cos, f.sin);
  return f.inputs_embeds;
}

Tensor loss(Forward& f, const Params& head, const Params& embedding, const Tensor& hidden,
            Tensor& logits) {
  logits = lm_logits(f, head, embedding, hidden);
  logits = div_scalar(logits);
  return causal_loss(f, logits);
}

}  // namespace

Family granite() { return named({"granite", layer, embed, decoder_finish, loss, rotary_buffers}); }

}  // namespace memplan::hf
