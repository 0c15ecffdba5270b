// pytorch/torchtitan's pretraining of Llama: version 0.2.2 (February 2026), and the two states of
// 2024 that memory was published of: 0.0.2 at 9dec370 (December), and 0.0.1 for what was 0.0.2's
// beginning in March, pull request 165, under FSDP1 before it and FSDP2 with it.
#pragma once

#include "lower/huggingface/module.h"

namespace memplan::torchtitan {

/// Throws Error{not_modelled} for an architecture that models/llama3 is not.
const hf::Family& family(const ModelSpec& model);

/// Refuses, by name, what the trainer does not do, or does and is not modelled. Throws
/// Error{not_modelled, bad_input}.
void require_modelled(const Job& job);

/// Of the versions above, the last that is not later; the first where none is.
enum class Release : uint8_t { march_2024, december_2024, february_2026 };
Release release_of(const Strategy& strategy);

/// How parallelize_llama checkpoints the layer of this index
/// (torchtitan/distributed/activation_checkpoint.py). Empty: it does not.
std::optional<aten::Checkpointing> checkpointing(const Strategy& strategy, int64_t layer);

}  // namespace memplan::torchtitan
