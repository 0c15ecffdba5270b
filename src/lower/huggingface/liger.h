// Liger-Kernel in a transformers model: what liger_kernel/transformers/monkey_patch.py (0.8.5)
// puts in the place of a family's functions.
#pragma once

#include "lower/huggingface/module.h"
#include "ops/aten/liger.h"

namespace memplan::hf {

/// Throws Error{not_modelled} where --kernels liger or --loss liger is asked of a family that
/// Liger does not patch, or whose patched forward is not written.
void require_liger(const Job& job);

bool runs_liger(const Forward& f);  ///< --kernels liger
/// Throws Error{not_modelled} where the GPU's number of multiprocessors is not known.
aten::liger::Device liger_device(const Forward& f);
/// LigerForCausalLMLoss (transformers/model/loss_utils.py): no logits.
Tensor liger_loss(const Forward& f, const Tensor& weight, const Tensor& hidden);

}  // namespace memplan::hf
