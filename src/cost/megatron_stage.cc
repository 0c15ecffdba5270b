#include "cost/megatron_stage.h"

#include "lower/family_row.h"
#include "lower/megatron/parameters.h"
#include "policy/megatron_fp8.h"

namespace memplan::megatron {
namespace {

const Block& block_of(const Program& program, const Run& run) {
  return program.blocks[static_cast<size_t>(run.block)];
}

const std::vector<Run>& runs_of(const Program& program, int64_t stage) {
  return program.stages[static_cast<size_t>(stage)].runs;
}

bool holds(const Chunk& chunk, BlockPart part, int64_t layer) {
  if (part == BlockPart::embedding) return chunk.embedding;
  if (part == BlockPart::head) return chunk.head;
  if (part == BlockPart::mtp_embedding || part == BlockPart::mtp_layer) return chunk.mtp > 0;
  return layer >= chunk.layers.first && layer < chunk.layers.first + chunk.layers.count;
}

// language_module.py marks word embeddings and output layers; tables of positions are like any
// matrix.
bool table(const FamilyRow& row, BlockPart part, const RankParam& p) {
  const bool positions = !row.positions.empty() && p.name.starts_with(row.positions);
  return part == BlockPart::mtp_embedding || part == BlockPart::head ||
         (part == BlockPart::embedding && !positions);
}

OptimizerTensor tensor_of(const Job& job, const FamilyRow& row, BlockPart part,
                          const RankParam& p) {
  OptimizerTensor out;
  out.elements = p.sizes.elements();
  // Without expert parallelism experts are like all other parameters (allreduce is true).
  out.expert = p.group == ParamGroup::expert && job.strategy.ep > 1;
  out.vector = p.sizes.dims < 2;
  if (p.sizes.dims != 2 || table(row, part, p)) return out;
  out.rows = p.sizes[0];
  out.columns = p.sizes[1];
  if (!p.name.ends_with("linear_qkv.weight")) return out;
  const int64_t head_dim = job.model.head_dim, groups = job.model.kv_heads / job.strategy.tp;
  out.query_groups = groups;
  out.query_rows = checked_mul(job.model.heads / job.strategy.tp, head_dim);
  out.key_rows = checked_mul(groups, head_dim);
  return out;
}

}  // namespace

std::vector<BufferGroup> stage_parameters(const Job& job, const Program& program, int64_t stage,
                                          const Chunk* chunk) {
  const bool stored_in_fp8 = job.strategy.megatron.fp8_weights;
  std::vector<BufferGroup> out(stored_in_fp8 ? 3 : 2);
  out[0].ranks = data_ranks(job.strategy, ParamGroup::dense);
  out[1].ranks = data_ranks(job.strategy, ParamGroup::expert);
  if (stored_in_fp8) out[2] = {.elements = {}, .ranks = out[0].ranks, .stored = DType::u8};
  for (const Run& run : runs_of(program, stage))
    for (int64_t i = 0; i < run.count; ++i) {
      const Block& block = block_of(program, run);
      if (chunk != nullptr && !holds(*chunk, block.part, run.first_layer + i)) continue;
      for (const RankParam& p : rank_params(block.graph, job, 1))
        for (int64_t copy = 0; p.trainable && copy < p.experts; ++copy)
          out[p.fp8 && stored_in_fp8         ? 2
              : p.group == ParamGroup::dense ? 0
                                             : 1]
              .elements.push_back(p.sizes.elements());
    }
  return out;
}

Bytes fp8_copies(const Job& job, const Program& program, int64_t stage) {
  Bytes out;
  const int64_t copies = fp8_copies(job);
  for (const Run& run : runs_of(program, stage))
    for (const RankParam& p : rank_params(block_of(program, run).graph, job, run.count)) {
      if (!p.fp8) continue;
      const Bytes one(checked_mul(ceil_div(p.sizes.elements(), 512), 512));
      out += p.copies * (copies * one + fp8_scales(job.strategy));
    }
  return out;
}

std::vector<OptimizerTensor> stage_tensors(const Job& job, const Program& program, int64_t stage) {
  std::vector<OptimizerTensor> out;
  const FamilyRow row = family_row(job.model);
  int64_t index = 0;
  for (const Chunk& chunk : stage_chunks(job, stage)) {
    for (const Run& run : runs_of(program, stage))
      for (int64_t i = 0; i < run.count; ++i) {
        const Block& block = block_of(program, run);
        if (!holds(chunk, block.part, run.first_layer + i)) continue;
        for (const RankParam& p : rank_params(block.graph, job, 1))
          for (int64_t copy = 0; p.trainable && copy < p.experts; ++copy) {
            out.push_back(tensor_of(job, row, block.part, p));
            out.back().chunk = index;
          }
      }
    ++index;
  }
  return out;
}

Frozen stage_frozen(const Job& job, const Program& program, int64_t stage) {
  Frozen out;
  for (const Run& run : runs_of(program, stage))
    for (const RankParam& p : rank_params(block_of(program, run).graph, job, run.count)) {
      if (p.trainable) continue;
      const int64_t tensors = checked_mul(p.experts, p.copies);
      out.elements = checked_add(out.elements, checked_mul(tensors, p.sizes.elements()));
      out.bytes += tensors * weight_block(job.strategy, p.sizes.elements());
    }
  return out;
}

}  // namespace memplan::megatron
