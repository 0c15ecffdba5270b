// Decoders that differ from Llama's by more than a row says, one file each.
#pragma once

#include "lower/huggingface/module.h"

namespace memplan::hf {

/// self_attn(hidden_states=…), whose argument has a name.
template <typename Body>
Tensor called_attention(const Forward& f, const Params& p, const Body& forward) {
  return called(f, p, "self_attn", {}, {}, [&](const Tensor&) { return forward(); });
}

/// mlp(x) of gated_mlp.
inline Tensor called_mlp(const Forward& f, const Params& p, const Tensor& x) {
  return called(f, p, "mlp", {}, x,
                [&](const Tensor& given) { return gated_mlp(f, p, f.row.mlp, given); });
}

/// nn.Dropout named `name`.
inline Tensor called_dropout(const Forward& f, const Params& p, std::string_view name,
                             const Tensor& x, double chance) {
  return called(f, p, name, {}, x,
                [&](const Tensor& given) { return aten::dropout(given, chance); });
}

/// `family`, whose functions name every module that they call.
inline Family named(Family family) {
  family.names_modules = true;
  return family;
}

Family gemma();
Family gemma2();
Family gemma3();
Family phi3();
Family olmo2();
Family starcoder2();
Family stablelm();
Family granite();
Family cohere();

}  // namespace memplan::hf
