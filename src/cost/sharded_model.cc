#include "cost/sharded_model.h"

#include <utility>

#include "lower/huggingface/quantized.h"
#include "policy/fsdp.h"
#include "policy/tensor_parallel.h"

namespace memplan {

fsdp2::Parameter whole_parameter(const Job& job, const Walked& block, size_t i) {
  const Graph& graph = block.params->graph();
  const Param& p = graph.params[i];
  const aten::Leaf& leaf = block.params->leaf(i);
  if (leaf.quantized) {  // Params4bit: packed in one column
    const DType storage = job.strategy.quantization.storage.value_or(DType::u8);
    const int64_t packed = aten::quantized_elements(*leaf.quantized, leaf.value.sizes()) / 2;
    return {{ceil_div(packed, size_of(storage)), 1}, 2, storage, false};
  }
  const DType stored = hf::stored_dtype(job.strategy, family_row(job.model), graph, p);
  return {p.shape, p.dims, stored, p.trainable};
}

StepParam stepped_parameter(const Job& job, const Walked& block, size_t i) {
  const Strategy& s = job.strategy;
  const Param& p = block.params->graph().params[i];
  const aten::Leaf& leaf = block.params->leaf(i);
  const bool hidden = block.block->part == BlockPart::layer || p.dims != 2;
  StepParam out{tensor_parallel::local_shape(s, p),
                p.dims,
                leaf.value.dtype(),
                leaf.copies,
                block.stretch,
                0,
                hidden};
  if (!fsdp::cuts_each(s)) return out;
  const fsdp2::Parameter whole = whole_parameter(job, block, i);
  out.shape = fsdp2::shard(whole, fsdp::shards(s), job.data_rank % fsdp::shards(s)).shape;
  out.dtype = whole.stored;
  return out;
}

void add_groups(const Job& job, const WalkedModel& model, ShardedStep& step) {
  const auto append = [&](const Walked& w, std::vector<ShardedParam>& group) {
    for (size_t i : model.registered(w))
      if (!w.params->leaf(i).quantized || job.strategy.quantization.storage)
        group.push_back({whole_parameter(job, w, i), &w.params->leaf(i)});
  };
  const std::vector<Walked>& blocks = model.blocks();
  std::vector<ShardedParam> root;
  const Fsdp& fsdp = job.strategy.fsdp;
  if (fsdp.wrap == Fsdp::Wrap::none) {
    for (const Walked& w : blocks) append(w, root);
    return step.add_group(std::move(root), 1, fsdp.root_after_forward);
  }
  const bool apart = fsdp2::groups_ends(job.strategy);
  if (!apart) {
    append(blocks.front(), root);
    append(blocks.back(), root);
  }
  step.add_group(std::move(root), 1, fsdp.root_after_forward);
  for (size_t at = 1; at + 1 < blocks.size(); ++at) {
    std::vector<ShardedParam> layer;
    append(blocks[at], layer);
    const bool kept = at + 2 == blocks.size() && fsdp2::keeps_last_layer(job.strategy);
    step.add_group(std::move(layer), model.rounds(blocks[at]),
                   kept ? std::optional<int64_t>(1) : fsdp.after_forward);
  }
  if (!apart) return;
  std::vector<ShardedParam> embedding, head;
  append(blocks.back(), head);
  step.add_group(std::move(head), 1, fsdp.root_after_forward);
  append(blocks.front(), embedding);
  step.add_group(std::move(embedding), 1, fsdp.after_forward);
}

}  // namespace memplan
