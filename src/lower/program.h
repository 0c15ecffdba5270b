// The program of each kind of rank: blocks in forward order, repeated stretches kept as runs.
#pragma once

#include <string>
#include <vector>

#include "lower/families.h"
#include "memplan/job.h"
#include "ops/graph.h"
#include "schedule/schedules.h"

namespace memplan {

enum class BlockPart : uint8_t { embedding, layer, bridge, mtp_embedding, mtp_layer, head, loss };

struct Block {
  BlockPart part{};
  std::string label;  ///< "decoder layer", "embedding"
  Graph graph;
  LayerKind kind = {};  ///< of a layer
};

/// `count` equal blocks one after the other.
struct Run {
  int32_t block = 0;        ///< index into Program::blocks
  int64_t first_layer = 0;  ///< of the whole model, over all stacks; 0 for other parts
  int64_t count = 1;
};

/// What the ranks of one pipeline stage run for one micro-batch, forward order.
struct StageProgram {
  std::vector<Run> runs;
};

struct Program {
  std::vector<Block> blocks;
  std::vector<StageProgram> stages;  ///< pp of them
};

/// Elements of all parameters, adapters among them and a tied one once, and of the trained ones.
struct ParameterCounts {
  int64_t total = 0, trainable = 0;
};

/// Lowers the model for every pipeline stage. The program of a bare size has stages without runs.
/// `loss_batch`: samples the loss block sees, other than micro_batch for DataParallel's GPU 0.
/// Throws Error{bad_input, not_modelled, too_large}.
Program lower(const Job& job, int64_t loss_batch);

/// The layers of one pipeline stage, a range a chunk, as the framework cuts them.
/// Throws Error{bad_input} where they cannot be cut.
std::vector<LayerRange> stage_layers(const Job& job, int64_t layers, int64_t stage);

/// Over all stages; of one rank's slice where tensors are split.
ParameterCounts count_parameters(const Program& program);

}  // namespace memplan
