// What PEFT's modules do around the layer they wrap: peft 0.21.2, tuners/*/layer.py, forward; and
// what PeftModelForCausalLM.forward does before the model's own (peft_model.py).
#pragma once

#include <span>
#include <string_view>

#include "lower/huggingface/module.h"
#include "lower/program.h"

namespace memplan::hf {

/// A layer of the model that PEFT may wrap.
struct BaseLayer {
  std::string_view name;
  Tensor weight, bias = {};
  bool transposed = false;        ///< Conv1D: weight [in, out]
  bool bias_apart = false;        ///< added by an operator of its own
  bool starts_gradients = false;  ///< enable_input_require_grads watches this embedding
  Tensor operator()(const Tensor& x) const;
};

/// base(x), as the job's method changes it where `p` says that it sits on this layer.
Tensor adapted_linear(const Forward& f, const Params& p, const BaseLayer& base, const Tensor& x);

/// DoRA's part of a LoRA layer: x in the adapter's dtype.
Tensor dora(const Forward& f, const Params& p, std::string_view name, Tensor x, Tensor result);

/// The weight of an embedding as a tied head reads it: trainable tokens sit on both.
Tensor tied_weight(const Forward& f, const Params& embedding, std::string_view name);

/// Virtual tokens that lengthen the input: f.sequence counts them.
int64_t input_prompt_tokens(const PeftSpec& peft);
bool has_virtual_tokens(const PeftSpec& peft);
/// cat((prompts, inputs_embeds)) of prompt learning; else inputs_embeds.
Tensor with_prompts(Forward& f, Tensor inputs_embeds, const Params& p);
/// What PeftModel.forward does before the model's: a longer padding mask, and prefix tuning's
/// past_key_values, f.past.
void enter_wrapper(Forward& f, const Params& p);
/// past_key_values.update: k and v [b, heads, s, d] behind the prefix of this layer.
void extend_past(Forward& f, Tensor& k, Tensor& v);

/// An attention's output with that of LLaMA-Adapter's prompt, of the same input.
Tensor with_adaption_prompt(const Forward& f, const Params& p, const Tensor& hidden, Tensor output);

/// What AdaLoRA adds to the loss after model.forward: every A's and B's distance from orthogonal.
/// The loss itself for other methods.
Tensor regularized(const Forward& f, std::span<const Params* const> blocks, const Tensor& loss);

/// Whether equal layers share tensors with what is outside of them.
bool differs_by_layer(const PeftSpec& peft);

/// Throws Error{not_modelled} where prompt learning's forward is not written for this model.
void require_prompt_forward(const Job& job);
/// Throws Error{not_modelled} naming an adapted module that the forward over these blocks never
/// called by name.
void require_reached(const Job& job, std::span<const Params* const> blocks);
/// Throws Error{not_modelled} naming the method, or the option of it, whose forward is not written.
void require_peft_forward(const Job& job, const Program& program);

}  // namespace memplan::hf
