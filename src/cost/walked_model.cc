#include "cost/walked_model.h"

#include <numeric>

#include "lower/registration.h"
#include "lower/stretches.h"

namespace memplan {

WalkedModel::WalkedModel(aten::Session& session, const Job& job, const Program& program,
                         bool folded)
    : row_(family_row(job.model)) {
  const auto block = [&](int32_t index) -> const Block& {
    return program.blocks[static_cast<size_t>(index)];
  };
  const auto walk = [&](int32_t index, int64_t copies) {
    const Block& b = block(index);
    blocks_.push_back({&b, std::make_unique<hf::Params>(session, b.graph, job, copies),
                       static_cast<int>(rounds_.size())});
  };
  std::vector<Run> layers;
  const auto flush = [&] {
    for (const Stretch& s : folded ? stretches(layers) : each(layers)) {
      rounds_.push_back(s.count);
      for (int32_t b : s.blocks) walk(b, s.count);
    }
    layers.clear();
  };
  for (const Run& run : program.stages.front().runs) {
    if (block(run.block).part == BlockPart::layer) {
      layers.push_back(run);
      continue;
    }
    flush();
    if (block(run.block).part == BlockPart::loss) continue;
    rounds_.push_back(1);
    walk(run.block, 1);
  }
  flush();
}

std::vector<size_t> WalkedModel::registered(const Walked& w) const {
  const Graph& graph = w.params->graph();
  if (w.block->part == BlockPart::layer) return registration_order(graph, row_);
  std::vector<size_t> out(graph.params.size());
  std::iota(out.begin(), out.end(), size_t{0});
  return out;
}

int64_t WalkedModel::buffer_bytes(bool registered) const {
  int64_t sum = 0;
  for (const Walked& w : blocks_) sum = checked_add(sum, w.params->buffer_bytes(registered));
  return sum;
}

ParamSet WalkedModel::unreached() const {
  ParamSet out;
  for (size_t w = 0; w < blocks_.size(); ++w) {
    const hf::Params& params = *blocks_[w].params;
    for (size_t i = 0; i < params.size(); ++i)
      if (params.graph().params[i].trainable && !params.leaf(i).reached) out.emplace(w, i);
  }
  return out;
}

std::vector<FlatTensor> WalkedModel::flat() const {
  std::vector<FlatTensor> all;
  for (size_t first = 0, last; first < blocks_.size(); first = last) {
    const int stretch = blocks_[first].stretch;
    for (last = first; last < blocks_.size() && blocks_[last].stretch == stretch;) ++last;
    for (int64_t round = 0; round < rounds(blocks_[first]); ++round)
      for (size_t at = first; at < last; ++at)
        for (size_t i = 0; i < blocks_[at].params->size(); ++i) {
          const aten::Tensor& value = blocks_[at].params->leaf(i).value;
          all.push_back({value.bytes(), value.dtype()});
        }
  }
  return all;
}

}  // namespace memplan
