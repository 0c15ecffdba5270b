// Encoders, and T5's pair of stacks: one function each, named by its file.
#pragma once

#include "lower/huggingface/module.h"

namespace memplan::hf {

Family bert_family();
Family roberta_family();
Family deberta_family();
Family t5_family();

/// Throws Error{not_modelled} where flash attention is asked of a model that has eager attention
/// alone (_supports_flash_attn).
void require_eager(const Forward& f);
/// Throws Error{not_modelled} naming the model's head.
[[noreturn]] void refuse_head(const Forward& f);

/// create_bidirectional_mask (transformers/masking_utils.py) for embeddings of `dtype`: [b, 1, s,
/// s], or empty where nothing is padded. `eager`: additive.
Tensor bidirectional_mask(const Forward& f, DType dtype, bool eager);

/// LayerNorm(dropout(dense(x)) + residual) of a layer: BertSelfOutput, BertOutput.
Tensor dense_add_norm(const Forward& f, const Params& p, std::string_view dense,
                      std::string_view norm, const Tensor& x, const Tensor& residual);
/// dense_add_norm(act(intermediate(x)), x): what follows attention.
Tensor encoder_mlp(const Forward& f, const Params& p, const Tensor& x);

/// Masked tokens or a classifier: hidden -> loss.
Tensor encoder_loss(Forward& f, const Params& head, const Params& embedding, const Tensor& hidden,
                    Tensor& logits);

}  // namespace memplan::hf
