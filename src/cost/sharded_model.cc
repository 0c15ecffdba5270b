#include "cost/sharded_model.h"

#include <utility>

#include "lower/huggingface/quantized.h"

namespace memplan {

fsdp2::Parameter whole_parameter(const Job& job, const Walked& block, size_t i) {
  const Graph& graph = block.params->graph();
  const Param& p = graph.params[i];
  const DType stored = hf::stored_dtype(job.strategy, family_row(job.model), graph, p);
  return {p.shape, p.dims, stored, p.trainable};
}

void add_groups(const Job& job, const WalkedModel& model, ShardedStep& step) {
  const auto append = [&](const Walked& w, std::vector<ShardedParam>& group) {
    for (size_t i : model.registered(w))
      group.push_back({whole_parameter(job, w, i), &w.params->leaf(i)});
  };
  const std::vector<Walked>& blocks = model.blocks();
  std::vector<ShardedParam> root;
  append(blocks.front(), root);
  append(blocks.back(), root);
  step.add_group(std::move(root), 1);
  for (size_t at = 1; at + 1 < blocks.size(); ++at) {
    std::vector<ShardedParam> layer;
    append(blocks[at], layer);
    step.add_group(std::move(layer), model.rounds(blocks[at]));
  }
}

}  // namespace memplan
