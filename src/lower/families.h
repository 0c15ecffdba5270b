// The architectures memplan knows: one row each, and the blocks a row stands for.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "memplan/model.h"
#include "ops/graph.h"

namespace memplan {

/// What distinguishes the layers of one model from each other. Layers with equal kinds are lowered
/// once.
enum class LayerForm : uint8_t {
  whole,  ///< attention and MLP
  ssm,    ///< of a hybrid model: one of them, or a state-space mixer
  attention,
  mlp
};
struct LayerKind {
  LayerForm form = LayerForm::whole;
  bool moe = false;
  bool sliding = false;
  bool decoder = false;         ///< of an encoder-decoder: has cross-attention
  bool first_of_stack = false;  ///< only where the first layer differs (T5's relative bias)
  friend bool operator==(const LayerKind&, const LayerKind&) = default;
};

/// A stack of layers: one for most models, encoder and decoder for T5.
struct Stack {
  std::string prefix;  ///< "model.layers": layer i is PREFIX.i
  std::vector<LayerKind> layers;
};

/// Names of all rows, for messages and `memplan show`.
std::vector<std::string_view> family_names();
/// Throws Error{bad_input} for a model_type that has no row, with the nearest name.
void require_family(const ModelSpec& model);

std::vector<Stack> stacks(const ModelSpec& model);

/// Everything before the first layer. Parameter names are whole names.
void build_embedding(const ModelSpec& model, Graph& g);
/// One layer; parameter names are relative to "PREFIX.i.".
void build_layer(const ModelSpec& model, const LayerKind& kind, Graph& g);
/// Between the encoder and the decoder of an encoder-decoder: the encoder's final norm and the
/// decoder's embedding. Nothing for other models.
void build_bridge(const ModelSpec& model, Graph& g);
/// Everything after the last layer but the loss: final norm, head or pooler. Returns the logits
/// (kNoTensor where the model has no head). `tied_copy`: the head stands on another pipeline stage
/// than the embedding it shares its weight with.
TensorId build_head(const ModelSpec& model, Graph& g, bool tied_copy);

}  // namespace memplan
