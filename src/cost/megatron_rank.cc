#include "cost/megatron_rank.h"

#include <fmt/format.h>

#include <algorithm>

#include "cost/kept_tensors.h"
#include "cost/megatron_chunk.h"
#include "cost/megatron_stage.h"
#include "cost/megatron_units.h"
#include "lower/family_row.h"
#include "lower/megatron/parameters.h"
#include "policy/megatron.h"
#include "policy/megatron_fp8.h"
#include "schedule/chunk_order.h"

namespace memplan {
namespace {

using namespace megatron;  // NOLINT: this file puts its parts together

constexpr const char* kMoves = "into the buffers";
constexpr const char* kTape = "autograd's tape, module by module";

// A moment of the step, above the rank's states.
struct StepMoment {
  Bytes bytes, kept;
  std::string_view at = "start";
  std::vector<int64_t> in_flight = {};  ///< micro-batches of each chunk
};

struct StepMemory {
  StepMoment forward, backward;
  Bytes left;  ///< after the step: what the chunks' modules still hold
};

// Plays a rank's tasks. A chunk's module holds on to the last tensor it received, and with it to
// its gradient, until the next one comes (transformer_block.py, set_input_tensor).
class Player {
 public:
  /// `messages`: what the schedule's own variables hold while a task runs. `deferrals`:
  /// micro-batches whose weight gradient of the output layer waits for the end.
  Player(const std::vector<ChunkMemory>& chunks, Bytes messages, int64_t deferrals)
      : chunks_(chunks), run_(chunks.size()), messages_(messages), deferrals_(deferrals) {
    for (const ChunkMemory& c : chunks) live_ += 2 * c.received;
  }

  StepMemory play(const std::vector<ChunkTask>& tasks) {
    for (const ChunkTask& task : tasks) {
      const size_t at = static_cast<size_t>(task.chunk);
      task.forward ? forward(chunks_[at], run_[at]) : backward(chunks_[at], run_[at]);
    }
    out_.left = live_ - deferred_;
    for (const ChunkMemory& chunk : chunks_) out_.left += chunk.attributes;
    return out_;
  }

 private:
  struct Progress {
    int64_t forwards = 0, backwards = 0;
    bool holds = true;  ///< the tensor of a finished micro-batch
  };

  void note(StepMoment& moment, const ChunkPeak& peak, Bytes before) {
    before += messages_;
    if (before + peak.bytes <= moment.bytes) return;
    moment = {before + peak.bytes, kept_ + peak.kept, peak.at};
    for (const Progress& p : run_) moment.in_flight.push_back(p.forwards - p.backwards);
  }

  void forward(const ChunkMemory& chunk, Progress& progress) {
    if (std::exchange(progress.holds, false)) live_ -= 2 * chunk.received;
    ++progress.forwards;
    note(out_.forward, chunk.forward, live_);
    live_ += chunk.kept;
    kept_ += chunk.kept;
  }

  void backward(const ChunkMemory& chunk, Progress& progress) {
    live_ -= chunk.kept;
    kept_ -= chunk.kept;
    note(out_.backward, chunk.backward, live_);
    if (progress.backwards < deferrals_) {
      live_ += chunk.deferred;
      deferred_ += chunk.deferred;
    }
    if (++progress.backwards == progress.forwards) {
      progress.holds = true;
      live_ += 2 * chunk.received;
    }
  }

  const std::vector<ChunkMemory>& chunks_;
  std::vector<Progress> run_;
  Bytes messages_;
  int64_t deferrals_;
  Bytes live_, kept_, deferred_;
  StepMemory out_;
};

class Ranks {
 public:
  Ranks(const Job& job, const DeviceMemory& outside)
      : job_(padded(job)),
        s_(job_.strategy),
        outside_(outside),
        program_(lower(job_, s_.micro_batch)) {}

  std::vector<RankPlan> run() {
    std::vector<RankPlan> out;
    for (int64_t stage = 0; stage < s_.pp; ++stage) add_stage(stage, out);
    return out;
  }

 private:
  const Block& block(int32_t index) const { return program_.blocks[static_cast<size_t>(index)]; }

  // Equal chunks are walked once.
  ChunkMemory walk(const Chunk& chunk) {
    std::vector<int32_t> blocks;
    for (const StageProgram& stage : program_.stages)
      for (const Run& run : stage.runs)
        for (int64_t i = 0; i < run.count; ++i) {
          const int64_t layer = run.first_layer + i - chunk.layers.first;
          const bool own = layer >= 0 && layer < chunk.layers.count;
          if (own && block(run.block).part == BlockPart::layer) blocks.push_back(run.block);
        }
    Chunk key = chunk;
    key.layers.first = 0;
    for (const auto& [known, kinds, memory] : walked_)
      if (known == key && kinds == blocks) return memory;
    const ChunkMemory memory = walk_chunk(job_, program_, chunk);
    walked_.push_back({key, std::move(blocks), memory});
    return memory;
  }

  // schedules.py: the gradient that was last sent stays in its variable; interleaved, the next
  // activation and the next gradient are received while a task runs (overlap_p2p_comm).
  Bytes messages(const std::vector<ChunkMemory>& chunks) const {
    Bytes one;
    for (const ChunkMemory& chunk : chunks) one = std::max(one, chunk.received);
    return (s_.vpp > 1 && s_.megatron.overlap_p2p ? 3 : 1) * one;
  }

  // Where weight gradients go straight into main_grad, autograd is given tensors that stand in for
  // them: one of each shape, for good (Transformer Engine, pytorch/module/base.py,
  // get_dummy_wgrad).
  Bytes stand_ins(int64_t stage) const {
    // Adapters are Megatron-core's own layers, and what is frozen has no gradients.
    if (s_.peft.kind != PeftKind::none) return Bytes(0);
    if (!s_.megatron.gradient_accumulation_fusion || !s_.training) return Bytes(0);
    const FamilyRow row = family_row(job_.model);
    const bool tied_here = s_.pp == 1 && job_.model.tie_embeddings;
    std::vector<aten::Shape> seen;
    Bytes sum;
    for (const Run& run : program_.stages[static_cast<size_t>(stage)].runs)
      for (const RankParam& p : rank_params(block(run.block).graph, job_, 1)) {
        const bool looked_up = (p.name.starts_with(row.embedding) && !tied_here) ||
                               (!row.positions.empty() && p.name.starts_with(row.positions)) ||
                               p.name.starts_with(row.moe.router);
        if (p.sizes.dims != 2 || looked_up ||
            std::find(seen.begin(), seen.end(), p.sizes) != seen.end())
          continue;
        seen.push_back(p.sizes);
        sum += Bytes(checked_mul(p.sizes.elements(), size_of(s_.precision.weight)));
      }
    return sum;
  }

  Bytes initialisation(int64_t stage, std::span<const Chunk> chunks,
                       std::span<const BufferGroup> buffers,
                       std::span<const OptimizerTensor> own) const {
    if (has_muon_buffers(s_)) return initialisation_peak(job_, buffers, own);
    if (s_.megatron.fsdp)
      return fsdp_initialisation_peak(job_, stage_buckets(job_, program_, stage));
    std::vector<BufferGroup> groups;
    for (const Chunk& chunk : chunks)
      for (BufferGroup& group : stage_parameters(job_, program_, stage, &chunk))
        groups.push_back(std::move(group));
    return initialisation_peak(job_, groups, own);
  }

  // Of Muon alone ranks of a stage may update different parameters.
  std::vector<OptimizerShare> shares(int64_t stage) const {
    if (!s_.training || s_.optimizer != OptimizerKind::muon)
      return {{0, s_.world() / s_.pp, {}, {}}};
    return optimizer_shares(s_, stage_tensors(job_, program_, stage), stage);
  }

  std::vector<BufferGroup> buffers_of(int64_t stage) const {
    if (has_muon_buffers(s_)) return muon_buffers(s_, stage_tensors(job_, program_, stage), stage);
    return stage_parameters(job_, program_, stage);
  }

  void add_stage(int64_t stage, std::vector<RankPlan>& out) {
    const std::vector<OptimizerShare> all = shares(stage);
    const std::vector<BufferGroup> groups = buffers_of(stage);
    for (const OptimizerShare& share : all) {
      out.push_back(rank(stage, share, groups));
      if (all.size() == 1) continue;
      RankPlan& plan = out.back();
      const std::string like = share.count == 1
                                   ? fmt::format("rank {}", plan.rank)
                                   : fmt::format("{} ranks as rank {}", share.count, plan.rank);
      plan.role = plan.role.empty() ? like : fmt::format("{}, {}", plan.role, like);
    }
  }

  RankPlan rank(int64_t stage, const OptimizerShare& share,
                const std::vector<BufferGroup>& groups) {
    RankPlan out;
    out.count = share.count;
    out.rank = stage * (s_.world() / s_.pp) + share.first;
    out.pipeline_stage = stage;
    if (s_.pp > 1) out.role = fmt::format("stage {}", stage);
    for (const BufferGroup& group : groups)
      for (int64_t n : group.elements)
        out.states.parameters = checked_add(out.states.parameters, n);
    StateMemory states = s_.megatron.fsdp
                             ? fsdp_state_memory(job_, stage_buckets(job_, program_, stage))
                             : state_memory(job_, groups, share.own);
    out.states.trainable = out.states.parameters;
    const Frozen kept = stage_frozen(job_, program_, stage);
    out.states.parameters = checked_add(out.states.parameters, kept.elements);
    states.weights += kept.bytes;
    if (kept.elements > 0)
      states.lines.push_back(
          {Holder::weights, "frozen weights", kept.bytes, {}, "core/tensor_parallel/layers.py"});
    out.states.weights = states.weights;
    out.states.gradients = states.gradients;
    out.states.optimizer = states.optimizer;

    const std::vector<Chunk> own = stage_chunks(job_, stage);
    std::vector<ChunkMemory> chunks;
    for (const Chunk& chunk : own) chunks.push_back(walk(chunk));
    const int64_t group = s_.megatron.micro_batch_group > 0 ? s_.megatron.micro_batch_group : s_.pp;
    const PipelineShape shape{s_.pp, s_.vpp, s_.micro_batches()};
    const int64_t limit = s_.megatron.deferred_head_gradients.value_or(0);
    Player player(chunks, messages(chunks), limit > 0 ? limit : s_.micro_batches());
    StepMemory step = player.play(chunk_order(shape, stage, group));
    Bytes whole;
    if (s_.megatron.fsdp)
      whole = fsdp_whole_between_steps(s_, stage_buckets(job_, program_, stage), job_.model.layers);
    step.left += whole;
    std::vector<LedgerLine> buffers = workspaces(job_);
    if (const Bytes bytes = stand_ins(stage); bytes > Bytes(0))
      buffers.push_back({Holder::buffers, "stand-ins for weight gradients", bytes,
                         "one of each shape", "transformer_engine/pytorch/module/base.py"});
    if (const Bytes bytes = fp8_copies(job_, program_, stage); bytes > Bytes(0))
      buffers.push_back({Holder::buffers, "fp8 copies of weights, scales", bytes,
                         s_.megatron.fp8_weights ? "transposed" : "for the step's micro-batches",
                         "transformer_engine/pytorch/module/base.py, quantize_weight"});
    Bytes global;
    for (const ChunkMemory& chunk : chunks) global = std::max(global, chunk.buffer);
    if (global > Bytes(0))
      buffers.push_back({Holder::buffers,
                         "gathered tensors and scores of the local spec",
                         global,
                         {},
                         "core/utils.py, GlobalMemoryBuffer"});
    fill(out, states, step, share.step, buffers);
    const StepMoment& top = step.backward.bytes > step.forward.bytes ? step.backward : step.forward;
    for (size_t i = 0; i < top.in_flight.size(); ++i)
      add_kept_tensors(out.largest, chunks[i].tensors, top.in_flight[i]);
    sort_kept_tensors(out.largest);
    start(out, kept.bytes + initialisation(stage, own, groups, share.own), states.made_by_step);
    evaluate(out, chunks, whole);
    return out;
  }

  void fill(RankPlan& out, const StateMemory& states, const StepMemory& step,
            const StepPeak& update, const std::vector<LedgerLine>& buffers) const {
    Bytes buffered;
    for (const LedgerLine& line : buffers) buffered += line.bytes;
    const Bytes fixed = states.weights + states.gradients + states.optimizer + buffered;
    const Bytes beyond = outside_.context + outside_.libraries + outside_.nccl;
    struct Row {
      const char* phase;
      StepMoment moment;
    };
    std::vector<Row> rows = {{"forward", step.forward},
                             {"backward", step.backward},
                             {"between steps", {step.left, Bytes(0), "states"}}};
    if (update.transient > Bytes(0))
      rows.push_back({"optimizer step", {step.left + update.transient, Bytes(0), update.at}});
    const Row* top = &rows[0];
    for (const Row& row : rows) {
      const Bytes allocated = fixed + row.moment.bytes;
      out.phases.push_back(
          {row.phase, allocated, allocated, allocated + beyond, std::string(row.moment.at)});
      if (row.moment.bytes > top->moment.bytes) top = &row;
    }
    RankMemory& m = out.memory;
    m.weights = states.weights;
    m.gradients = states.gradients;
    m.optimizer = states.optimizer;
    m.activations = std::min(top->moment.kept, top->moment.bytes);
    m.transient = top->moment.bytes - m.activations;
    m.buffers = buffered;
    m.allocated = fixed + top->moment.bytes;
    m.reserved = m.allocated;
    m.context = outside_.context;
    m.libraries = outside_.libraries;
    m.nccl = outside_.nccl;
    m.device = m.reserved + beyond;
    out.peak_phase = top->phase;
    out.peak_operator = std::string(top->moment.at);
    out.outside = outside_.lines;
    out.lines = states.lines;
    const auto line = [&](Holder holder, const char* label, Bytes bytes) {
      if (bytes > Bytes(0)) out.lines.push_back({holder, label, bytes, {}, kTape});
    };
    line(Holder::activations, "kept by autograd", m.activations);
    line(Holder::transient, "temporaries and gradients of activations", m.transient);
    out.lines.insert(out.lines.end(), buffers.begin(), buffers.end());
  }

  // Micro-batches like those of training, one at a time.
  // `whole`: weights that are so between steps already.
  void evaluate(RankPlan& out, const std::vector<ChunkMemory>& chunks, Bytes whole) const {
    const RankMemory& m = out.memory;
    Bytes held = out.phases[2].allocated - whole;
    ChunkPeak most;
    for (const ChunkMemory& chunk : chunks) {
      held -= 2 * chunk.received;  // of training, replaced
      if (chunk.evaluation.bytes > most.bytes) most = chunk.evaluation;
    }
    const Bytes allocated = held + most.bytes;
    out.phases.push_back({"evaluation", allocated, allocated, allocated + m.device - m.reserved,
                          std::string(most.at)});
  }

  // What comes before the steady step. Where it is the highest, the rank's memory is that moment's.
  void start(RankPlan& out, Bytes made, Bytes made_by_step) const {
    RankMemory& m = out.memory;
    const Bytes beyond = m.device - m.reserved;
    const Bytes first = std::max(out.phases[0].allocated, out.phases[1].allocated) - made_by_step;
    const PhasePeak left = out.phases.back();  // between steps, or the optimizer's step
    const bool step = left.allocated > first;
    const PhasePeak most =
        out.phases[0].allocated > out.phases[1].allocated ? out.phases[0] : out.phases[1];
    const Bytes allocated = std::max(first, left.allocated);
    const char* at = s_.zero > 0 && (s_.optimizer != OptimizerKind::muon || has_muon_buffers(s_))
                         ? kMoves
                         : "states";
    out.phases.push_back({"initialisation", made, made, made + beyond, at});
    out.phases.push_back(
        {"first step", allocated, allocated, allocated + beyond, step ? left.at : most.at});
    if (made <= m.allocated) return;
    m.optimizer = m.activations = m.buffers = Bytes(0);
    m.transient = made - m.weights - m.gradients;
    m.allocated = m.reserved = made;
    m.device = made + beyond;
    out.largest.clear();
    out.peak_phase = "initialisation";
    out.peak_operator = at;
    std::erase_if(out.lines, [](const LedgerLine& line) {
      return line.holder != Holder::weights && line.holder != Holder::gradients;
    });
    out.lines.push_back({Holder::transient,
                         "parameters that have not moved into the buffers",
                         m.transient,
                         {},
                         "core/distributed/param_and_grad_buffer.py"});
  }

  struct Walked {
    Chunk chunk;
    std::vector<int32_t> blocks;
    ChunkMemory memory;
  };
  Job job_;
  const Strategy& s_;
  const DeviceMemory& outside_;
  Program program_;
  std::vector<Walked> walked_;
};

}  // namespace

std::vector<RankPlan> megatron_ranks(const Job& job, const DeviceMemory& outside) {
  require_gpt(job.model);
  return Ranks(job, outside).run();
}

}  // namespace memplan
