// Whether a model's layers are GPTModel's (core/models/gpt/gpt_layer_specs.py, 0.18).
#include <string>

#include "lower/family_row.h"
#include "lower/megatron/parameters.h"
#include "memplan/error.h"

namespace memplan::megatron {

void require_gpt(const ModelSpec& model) {
  const FamilyRow row = family_row(model);
  const AttentionRow& attention = row.attention;
  std::string_view other;
  if (row.form == Form::mcore_t5 || row.form == Form::mcore_hybrid) return;
  if (row.form != Form::decoder)
    other = "an encoder";
  else if (row.residual == Residual::parallel)
    other = "attention and MLP side by side";
  else if (row.residual == Residual::add_then_norm || !row.after_attention.empty() ||
           !row.after_mlp.empty())
    other = "norms behind attention and MLP";
  else if (row.norm != NormKind::rms && row.norm != NormKind::layer)
    other = "norms without weights or biases";
  else if (!row.embedding_norm.empty())
    other = "a norm on the embedding";
  else if (attention.qk_norm != QkNorm::none && attention.qk_norm != QkNorm::per_head)
    other = "norms of queries and keys over all heads";
  else if (!attention.sinks.empty())
    other = "attention sinks";
  else if (row.final_norm.empty() || row.head_bias)
    other = "another head";
  else if (!row.moe.shared_gate.empty() && model.moe.shared_experts_ffn > 0)
    other = "a gated shared expert";
  if (other.empty()) return;
  throw Error(ErrorKind::not_modelled, "--framework megatron",
              "Megatron-core's GPTModel has no layers like " + model.family + "'s, with " +
                  std::string(other),
              "use --framework textbook");
}

}  // namespace memplan::megatron
