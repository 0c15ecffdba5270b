#include "cost/walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cost/states.h"
#include "policy/textbook.h"

namespace memplan {
namespace {

const char* activation_source(const Strategy& s) {
  return s.activations == ActivationModel::zero ? "ZeRO, arXiv 1910.02054, section 3.2"
                                                : "Korthikanti et al., arXiv 2205.05198, section 4";
}

bool is_checkpointed(BlockPart part) { return part == BlockPart::layer; }

std::string place(const Block& block, const Run& run, int64_t offset) {
  if (block.part != BlockPart::layer) return block.label;
  return fmt::format("{} {}", block.label, run.first_layer + offset);
}

class Walk {
 public:
  Walk(const Job& job, const FoldedProgram& folded, int64_t stage, const HeldInFlight& in_flight,
       bool with_loss)
      : job_(job), folded_(folded), in_flight_(in_flight), policy_(textbook::states(job.strategy)) {
    for (const Run& run : folded.program.stages[static_cast<size_t>(stage)].runs)
      if (with_loss || block(run).part != BlockPart::loss) runs_.push_back(run);
    interleave(stage);
    for (const Run& run : runs_) {
      const Bytes once = summary(run).kept * run.count;
      total_ += times(once, run);
    }
  }

  std::vector<Moment> phases() const {
    std::vector<Moment> out;
    out.push_back(forward());
    if (job_.strategy.training) {
      out.push_back(backward());
      out.push_back({"optimizer step", "optimizer step", {}, {}, {}});
    }
    return out;
  }

  std::vector<LedgerLine> tensors(size_t limit) const {
    std::map<std::pair<std::string, std::string_view>, std::pair<Bytes, int64_t>> found;
    for (const Run& run : runs_) {
      const Block& b = block(run);
      const int64_t copies = copies_of(run);
      const auto note = [&](const Tensor& tensor) {
        auto& [bytes, count] = found[{b.label, tensor.name}];
        bytes += tensor.bytes() * copies;
        count += copies;
      };
      const Recompute recompute =
          is_checkpointed(b.part) ? job_.strategy.recompute : Recompute::none;
      if (recompute == Recompute::full) {
        if (summary(run).kept > Bytes(0))
          for (TensorId id : b.graph.inputs) note(b.graph.tensors[static_cast<size_t>(id)]);
        continue;
      }
      for (const Tensor& tensor : b.graph.tensors)
        if (tensor.saved && !(recompute == Recompute::selective && tensor.recomputable))
          note(tensor);
    }
    std::vector<LedgerLine> lines;
    for (const auto& [key, value] : found)
      lines.push_back({Holder::activations, fmt::format("{}: {}", key.first, key.second),
                       value.first,
                       fmt::format("{} × {}", value.second,
                                   format_bytes(Bytes(value.first.count() / value.second))),
                       activation_source(job_.strategy)});
    std::stable_sort(lines.begin(), lines.end(),
                     [](const LedgerLine& a, const LedgerLine& b) { return a.bytes > b.bytes; });
    if (lines.size() > limit) lines.resize(limit);
    return lines;
  }

 private:
  const Block& block(const Run& run) const {
    return folded_.program.blocks[static_cast<size_t>(run.block)];
  }
  const BlockSummary& summary(const Run& run) const {
    return folded_.summaries[static_cast<size_t>(run.block)];
  }

  // Blocks of this run alive at the fullest moment, over all micro-batches in flight. A chunk of
  // layers is 1/v of the stage's.
  int64_t copies_of(const Run& run) const {
    switch (block(run).part) {
      case BlockPart::embedding:
      case BlockPart::bridge:
        return checked_mul(run.count, in_flight_.first_chunk);
      case BlockPart::layer:
        return layers_alive(run);
      case BlockPart::mtp_embedding:
      case BlockPart::mtp_layer:
      case BlockPart::head:
      case BlockPart::loss:
        return checked_mul(run.count, in_flight_.last_chunk);
    }
    return run.count;
  }
  int64_t layers_alive(const Run& run) const {
    if (chunks_.empty()) return checked_mul(run.count, in_flight_.chunks);
    return checked_mul(run.count, chunks_alive_[chunk_of(run)]);
  }
  // Which of the stage's chunks holds this run; runs never reach over a chunk's end.
  size_t chunk_of(const Run& run) const {
    size_t chunk = 0;
    while (chunk + 1 < chunks_.size() &&
           run.first_layer >= chunks_[chunk].first + chunks_[chunk].count)
      ++chunk;
    return chunk;
  }
  void interleave(int64_t stage) {
    const Strategy& s = job_.strategy;
    if (s.vpp == 1) return;
    chunks_ = stage_layers(job_, job_.model.layers, stage);
    std::vector<int64_t> kept(chunks_.size());
    for (const Run& run : runs_)
      if (block(run).part == BlockPart::layer)
        kept[chunk_of(run)] =
            checked_add(kept[chunk_of(run)], checked_mul(summary(run).kept.count(), run.count));
    chunks_alive_ = fullest_chunks({s.pp, s.vpp, s.micro_batches()}, stage, kept);
  }
  Bytes times(Bytes once, const Run& run) const {
    return run.count == 0 ? Bytes(0) : Bytes(once.count() / run.count) * copies_of(run);
  }

  // The table that embedding and head share on this stage; null where each has its own.
  const Param* tied_table() const {
    const ModelHead head = job_.model.head;
    if (!job_.model.tie_embeddings || job_.strategy.pp > 1 || head == ModelHead::none ||
        head == ModelHead::sequence_classification)
      return nullptr;
    for (const Param& p : block(runs_.front()).graph.params)
      if (p.shape[0] == job_.model.vocab) return &p;
    return nullptr;
  }
  bool reads_tied_table(const Run& run) const {
    return block(run).part == BlockPart::head || block(run).part == BlockPart::bridge;
  }
  // Its gradient is whole only when the last reader has had its backward: what the head has
  // written waits for the embedding.
  bool tied_gradient_waits(const Run& run) const {
    return block(run).part != BlockPart::embedding && block(run).part != BlockPart::loss;
  }

  // Elements of a block that are on the GPU only while they are in use: those whose `home` is
  // elsewhere, and those of a group that divides them. A group of one divides nothing.
  int64_t passing(int64_t dense, int64_t expert, Placement home) const {
    const auto passes = [&](ParamGroup group) {
      return home != Placement::gpu || shards(job_.strategy, group) > 1;
    };
    return checked_add(passes(ParamGroup::dense) ? dense : 0,
                       passes(ParamGroup::expert) ? expert : 0);
  }

  Bytes gathered(const Run& run) const {
    if (!policy_.transient_weights) return Bytes(0);
    int64_t dense = summary(run).dense.elements;
    const Param* table = reads_tied_table(run) ? tied_table() : nullptr;
    if (table != nullptr) dense = checked_add(dense, table->local_elements());
    const int64_t elements =
        passing(dense, summary(run).expert.elements, job_.strategy.offload.parameters);
    return Bytes(checked_mul(elements, size_of(job_.strategy.precision.weight)));
  }
  Bytes gradients(const Run& run) const {
    if (!policy_.transient_gradients) return Bytes(0);
    int64_t dense = summary(run).dense.trainable;
    const Param* table = tied_gradient_waits(run) ? tied_table() : nullptr;
    if (table != nullptr && table->trainable) dense = checked_add(dense, table->local_elements());
    const int64_t elements =
        passing(dense, summary(run).expert.trainable, job_.strategy.offload.gradients);
    return Bytes(checked_mul(elements, size_of(job_.strategy.precision.gradient)));
  }

  Moment moment(std::string_view phase, const Run& run, int64_t offset, Bytes activations,
                Bytes again, Bytes gradient) const {
    Moment out{phase, place(block(run), run, offset), activations, {}, {}};
    const auto line = [&](Holder holder, std::string label, Bytes bytes, const char* source) {
      if (bytes == Bytes(0)) return;
      if (holder == Holder::transient) out.transient += bytes;
      out.lines.push_back({holder, std::move(label), bytes, {}, source});
    };
    line(Holder::activations, "activations", activations, activation_source(job_.strategy));
    line(Holder::transient, "recomputed activations of " + out.at, again,
         "checkpointing, arXiv 1604.06174");
    line(Holder::transient, "gathered weights of " + out.at, gathered(run),
         "ZeRO, arXiv 1910.02054, section 5.3");
    line(Holder::transient, "unreduced gradients of " + out.at, gradient,
         "ZeRO, arXiv 1910.02054, section 5.2");
    if (job_.explain) explain(out);
    return out;
  }

  void explain(Moment& out) const {
    for (LedgerLine& line : out.lines) {
      if (line.holder != Holder::activations) continue;
      for (const Run& run : runs_) {
        const Bytes kept = summary(run).kept;
        if (kept == Bytes(0)) continue;
        line.formula += fmt::format("{}{} {} × {}", line.formula.empty() ? "" : " + ",
                                    copies_of(run), block(run).label, format_bytes(kept));
      }
    }
  }

  static void keep_higher(Moment& best, bool& first, Moment candidate) {
    if (first || candidate.total() > best.total()) best = std::move(candidate);
    first = false;
  }

  // Inside a run the live bytes grow by the same amount each time, so its end is its highest.
  Moment forward() const {
    Bytes once;
    for (const Run& run : runs_) once += summary(run).kept * run.count;
    Bytes live = total_ - std::min(total_, once);
    Moment best{"forward", "start", {}, {}, {}};
    bool first = true;
    for (const Run& run : runs_) {
      live += summary(run).kept * run.count;
      keep_higher(best, first,
                  moment("forward", run, run.count - 1, std::min(live, total_), {}, {}));
    }
    return best;
  }

  // Backward frees as it goes, so a run is highest when it is entered.
  Moment backward() const {
    Bytes live = total_;
    Moment best{"backward", "start", {}, {}, {}};
    bool first = true;
    for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
      keep_higher(
          best, first,
          moment("backward", *run, run->count - 1, live, summary(*run).again, gradients(*run)));
      live -= std::min(live, summary(*run).kept * run->count);
    }
    return best;
  }

  const Job& job_;
  const FoldedProgram& folded_;
  HeldInFlight in_flight_;
  std::vector<LayerRange> chunks_;     // of an interleaved stage; empty otherwise
  std::vector<int64_t> chunks_alive_;  // micro-batches in each at the fullest moment
  StatePolicy policy_;
  std::vector<Run> runs_;
  Bytes total_;
};

}  // namespace

FoldedProgram fold(const Job& job, int64_t loss_batch) {
  FoldedProgram out{lower(job, loss_batch), {}};
  for (const Block& block : out.program.blocks)
    out.summaries.push_back(summarize(block.graph, job.strategy, is_checkpointed(block.part)));
  return out;
}

int64_t output_elements(const Job& job, const FoldedProgram& folded) {
  const Strategy& s = job.strategy;
  const int64_t tokens = checked_mul(s.micro_batch, s.sequence);
  switch (job.model.head) {
    case ModelHead::causal_lm:
    case ModelHead::masked_lm:
    case ModelHead::seq2seq_lm:
      return checked_mul(tokens, job.model.vocab);
    case ModelHead::sequence_classification:
    case ModelHead::none:
      break;
  }
  for (const Block& block : folded.program.blocks)
    if (block.part == BlockPart::head && !block.graph.ops.empty())
      return block.graph.elements(block.graph.ops.back().output);
  return checked_mul(tokens, job.model.hidden);
}

std::vector<Moment> walk(const Job& job, const FoldedProgram& folded, int64_t stage,
                         const HeldInFlight& in_flight, bool with_loss) {
  return Walk(job, folded, stage, in_flight, with_loss).phases();
}

std::vector<LedgerLine> largest_tensors(const Job& job, const FoldedProgram& folded, int64_t stage,
                                        const HeldInFlight& in_flight, bool with_loss,
                                        size_t limit) {
  return Walk(job, folded, stage, in_flight, with_loss).tensors(limit);
}

}  // namespace memplan
