// One function for each method's module: its forward in peft 0.21.2, statement by statement.
#pragma once

#include <string>
#include <string_view>

#include "lower/huggingface/peft.h"

namespace memplan::hf {

/// A wrapped layer and the tensors that the method put beside it.
struct Site {
  const Forward& f;
  const Params& p;
  const PeftModule& module;
  const BaseLayer& base;

  const PeftSpec& peft() const { return f.job.strategy.peft; }
  int64_t number(PeftNumber which) const { return peft().number(which); }
  double dropout() const { return peft().dropout; }
  Tensor find(std::string_view suffix) const { return p.find(base.name, suffix); }
  Tensor get(std::string_view suffix) const { return p.get(base.name, suffix); }
  Tensor buffer(std::string_view suffix) const {
    return p.buffer(std::string(base.name) + "." + std::string(suffix));
  }
};

/// x -> the wrapped layer's output. For an embedding x is the ids.
using Method = Tensor (*)(const Site& s, const Tensor& x);

namespace peft_forward {

// lora.cc
Tensor lora(const Site& s, const Tensor& x);
/// The same with its modules' hooks, under ZeRO-3.
Tensor hooked_lora(const Site& s, const Tensor& x);
Tensor lora_embedding(const Site& s, const Tensor& ids);

// adalora.cc
Tensor adalora(const Site& s, const Tensor& x);

// scaling.cc
Tensor ia3(const Site& s, const Tensor& x);
Tensor vera(const Site& s, const Tensor& x);
Tensor beft(const Site& s, const Tensor& x);
Tensor miss(const Site& s, const Tensor& x);

// low_rank.cc
Tensor tinylora(const Site& s, const Tensor& x);
Tensor gralora(const Site& s, const Tensor& x);
Tensor deft(const Site& s, const Tensor& x);
Tensor vblora(const Site& s, const Tensor& x);
Tensor lily(const Site& s, const Tensor& x);

// whole_weight.cc
Tensor hira(const Site& s, const Tensor& x);
Tensor glora(const Site& s, const Tensor& x);
Tensor miss_bat(const Site& s, const Tensor& x);
Tensor shira(const Site& s, const Tensor& x);
Tensor boft(const Site& s, const Tensor& x);

// normalised.cc
Tensor delora(const Site& s, const Tensor& x);
Tensor randlora(const Site& s, const Tensor& x);
Tensor pvera(const Site& s, const Tensor& x);
Tensor road(const Site& s, const Tensor& x);
Tensor hra(const Site& s, const Tensor& x);

// spectral.cc
Tensor fourierft(const Site& s, const Tensor& x);
Tensor waveft(const Site& s, const Tensor& x);
Tensor c3a(const Site& s, const Tensor& x);

// delta_weight.cc
Tensor loha(const Site& s, const Tensor& x);
Tensor lokr(const Site& s, const Tensor& x);

// orthogonal.cc
Tensor oft(const Site& s, const Tensor& x);
Tensor psoft(const Site& s, const Tensor& x);
Tensor oft_embedding(const Site& s, const Tensor& ids);

// tokens.cc
Tensor trainable_tokens(const Site& s, const Tensor& x);
Tensor trainable_token_embedding(const Site& s, const Tensor& ids);

}  // namespace peft_forward

/// torch.einsum("...bk,bkn->...bn"): one batched product, x [.., blocks, k], w [blocks, k, n].
Tensor block_product(const Tensor& x, const Tensor& w);

}  // namespace memplan::hf
