// Which layers each virtual pipeline stage of Megatron-core builds.
#pragma once

#include <vector>

#include "memplan/job.h"
#include "schedule/schedules.h"

namespace memplan::megatron {

/// One model chunk of a rank.
struct Chunk {
  LayerRange layers;
  bool embedding = false;  ///< pre_process
  bool head = false;       ///< post_process: final norm, output layer and loss
  int64_t mtp = 0;         ///< multi-token-prediction layers, of the head's chunk
  friend bool operator==(const Chunk&, const Chunk&) = default;
};

/// The chunks of pipeline rank `stage`, in their virtual order
/// (core/transformer/transformer_block.py, get_num_layers_to_build; transformer_layer.py,
/// get_transformer_layer_offset; pipeline_parallel_layer_layout.py; 0.18).
/// Throws Error{bad_input} where the layers cannot be cut so, naming the nearest number.
std::vector<Chunk> stage_chunks(const Job& job, int64_t stage);

}  // namespace memplan::megatron
