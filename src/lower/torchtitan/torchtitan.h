// pytorch/torchtitan's pretraining of Llama 3: version 0.2.2 (February 2026).
#pragma once

#include "lower/huggingface/module.h"

namespace memplan::torchtitan {

/// Throws Error{not_modelled} for an architecture that models/llama3 is not.
const hf::Family& family(const ModelSpec& model);

/// Refuses, by name, what the trainer does not do, or does and is not modelled. Throws
/// Error{not_modelled, bad_input}.
void require_modelled(const Job& job);

/// How parallelize_llama checkpoints the layer of this index
/// (torchtitan/distributed/activation_checkpoint.py). Empty: it does not.
std::optional<aten::Checkpointing> checkpointing(const Strategy& strategy, int64_t layer);

}  // namespace memplan::torchtitan
