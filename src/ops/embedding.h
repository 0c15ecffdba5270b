// Token embeddings, the vocabulary projection and the loss.
#pragma once

#include <string>

#include "ops/graph.h"

namespace memplan {

/// Rows of a table looked up by token. Parameter NAME.weight [rows, width]. Under tensor
/// parallelism a vocabulary table is cut by rows and the result all-reduced (or reduce-scattered).
struct Embedding {
  std::string name;
  int64_t rows = 0, width = 0;
  bool vocabulary = true;  ///< false: positions, token types: replicated
  bool tied = false;       ///< the table is another block's: no parameter here
};
/// Returns [stream tokens, width].
TensorId embedding(Graph& g, const Embedding& spec);

/// logits = x·Wᵀ, W [vocab, width] named NAME.weight; `tied`: W is the embedding's, `tied_copy`:
/// held a second time because this is another pipeline stage. Returns [tokens, vocab/tp].
struct Head {
  std::string name;
  int64_t width = 0, vocab = 0;
  bool bias = false;
  std::string bias_name = {};  ///< where it is not NAME.bias
  bool tied = false, tied_copy = false;
};
TensorId vocabulary_head(Graph& g, TensorId x, const Head& spec);

/// Cross-entropy over the (vocabulary-parallel) logits: keeps them in fp32 (arXiv 2205.05198,
/// section 4.3). Three all-reduces over the tensor-parallel group, of one fp32 per token.
/// The logits' tokens are those of the tensor, so that a gathered batch works too.
void cross_entropy(Graph& g, TensorId logits, int64_t vocab);

}  // namespace memplan
