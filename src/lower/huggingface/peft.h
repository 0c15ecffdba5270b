// What PEFT's modules do around the linear layer they wrap: peft 0.21.2, tuners/*/layer.py,
// forward.
#pragma once

#include <string_view>

#include "lower/huggingface/module.h"
#include "lower/program.h"

namespace memplan::hf {

/// What the wrapped layer reads instead of x (IA3 on a feed-forward layer), or x.
Tensor before_linear(const Forward& f, const Params& p, std::string_view name, const Tensor& x);
/// The wrapped layer's `result` with the method's own part.
Tensor after_linear(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
                    Tensor result);

/// DoRA's part of a LoRA layer: x in the adapter's dtype.
Tensor dora(const Forward& f, const Params& p, std::string_view name, Tensor x, Tensor result);

/// Throws Error{not_modelled} naming the method, or the option of it, whose forward is not written.
void require_peft_forward(const Job& job, const Program& program);

}  // namespace memplan::hf
