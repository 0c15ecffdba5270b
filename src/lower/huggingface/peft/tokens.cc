// Single trained rows of an embedding (trainable_tokens/layer.py).
#include "lower/huggingface/peft/method.h"

namespace memplan::hf::peft_forward {

using namespace aten;  // NOLINT

namespace {

// get_merged_weights: the whole table again, with the trained rows in it.
Tensor merged_weight(const Site& s) {
  const Tensor delta = s.get("trainable_tokens_delta.default");
  const Tensor index = make(s.f.session, "aten._to_copy.default", {delta.size(0)}, DType::i64);
  const Tensor rows = to(delta, s.base.weight.dtype());
  return index_copy(s.base.weight, index, rows);
}

}  // namespace

Tensor trainable_token_embedding(const Site& s, const Tensor& ids) {
  const Tensor weight = merged_weight(s);
  return embedding(weight, ids);
}

Tensor trainable_tokens(const Site& s, const Tensor& x) {
  const Tensor weight = merged_weight(s);
  return aten::linear(x, weight, {});
}

}  // namespace memplan::hf::peft_forward

namespace memplan::hf {

Tensor tied_weight(const Forward& f, const Params& embedding, std::string_view name) {
  const BaseLayer base{.name = name, .weight = embedding.get(name, "weight")};
  const bool tokens = f.job.strategy.peft.kind == PeftKind::trainable_tokens;
  const PeftModule* module = tokens ? embedding.adapted(name) : nullptr;
  return module ? peft_forward::merged_weight({f, embedding, *module, base}) : base.weight;
}

}  // namespace memplan::hf
