// Virtual tokens: what prompt methods train before the model or in its attention.
#pragma once

#include "memplan/model.h"
#include "ops/graph.h"

namespace memplan {

/// Whether a layer has the adapters of a method that leaves layers out: AdapterDrop the first,
/// adaption prompts all but the last, litgpt's adapter the first two.
bool adapted_layer(const PeftSpec& peft, int64_t index, int64_t layers);

/// The prompt of this layer's attention (peft's adaption prompt, litgpt's adapter): parameters.
void add_layer_prompts(const ModelSpec& model, Graph& g);

/// peft's prompt encoder: parameters "prompt_encoder.default.…", in fp32. Throws Error{bad_input}
/// where the number of virtual tokens is not given.
void add_prompt_encoder(const ModelSpec& model, Graph& g);

}  // namespace memplan
