#include "cost/megatron_chunk.h"

#include <algorithm>
#include <memory>

#include "cost/megatron_units.h"
#include "lower/megatron/mtp_block.h"
#include "lower/megatron/t5_blocks.h"
#include "lower/megatron/walk.h"
#include "lower/stretches.h"
#include "memplan/error.h"
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::megatron {
namespace {

using aten::Phase;

class ChunkWalk {
 public:
  ChunkWalk(const Job& job, const Program& program, const Chunk& chunk)
      : job_(job),
        s_(job.strategy),
        program_(program),
        chunk_(chunk),
        session_(job.backend, s_.torch) {
    session_.rounds_to_512 = true;
    session_.fake_tensors = false;
  }

  ChunkMemory run() {
    place_parameters();
    base_ = session_.ledger.live();
    Walk w = make_walk(session_, job_, &buffer_);
    session_.ledger.enter(Phase::forward);
    batch(w);
    Tensor input;
    Tensor output = forward(w, input);
    session_.ledger.leave();
    const int64_t attributes = w.attributes;
    w.tokens.reset();
    w.labels.reset();
    w.loss_mask.reset();
    w.attention_mask.reset();
    w.decoder_tokens.reset();
    w.decoder_mask.reset();
    w.cross_mask.reset();
    w.memory.reset();
    w.held_logits.reset();
    if (!chunk_.head) output = without_data(output);
    ChunkMemory out;
    out.kept = Bytes(session_.ledger.live() - base_);
    out.tensors = session_.kept_tensors();
    if (input) out.received = Bytes(session_.rounded(input.bytes()));
    if (s_.training) {
      session_.ledger.enter(Phase::backward);
      Tensor gradient;
      if (!chunk_.head)
        gradient = aten::make(session_, "c10d.recv_", output.sizes(), output.dtype());
      aten::run_backward(session_, std::move(output), gradient);
      session_.ledger.leave();
    }
    out.forward = peak(Phase::forward);
    out.backward = peak(Phase::backward);
    defer_head(out);
    out.buffer = Bytes(session_.rounded(buffer_));
    out.attributes = Bytes(attributes);
    return out;
  }

  // schedules.py, forward_only: nothing is kept, and recomputation has nothing to do.
  ChunkPeak evaluate() {
    place_parameters();
    base_ = session_.ledger.live();
    Walk w = make_walk(session_, job_, &buffer_);
    const aten::NoGrad off(session_);
    session_.ledger.enter(Phase::forward);
    batch(w);
    Tensor input;
    const Tensor output = forward(w, input);
    session_.ledger.leave();
    return peak(Phase::forward);
  }

 private:
  const Block& block(int32_t index) const { return program_.blocks[static_cast<size_t>(index)]; }

  ChunkPeak peak(Phase phase) const {
    const aten::Peak& p = session_.ledger.peak(phase);
    return {Bytes(std::max<int64_t>(0, p.level.bytes - base_)), Bytes(p.level.kept), p.at};
  }

  // The output layer's input and the gradient of its output (core/tensor_parallel/layers.py). When
  // the pipeline drains, shards of inputs are gathered in turn into two buffers that stay
  // (core/utils.py, drain_embedding_wgrad_compute).
  void defer_head(ChunkMemory& out) {
    const auto& limit = s_.megatron.deferred_head_gradients;
    if (!chunk_.head || !limit) return;
    const int64_t rows = checked_mul(s_.micro_batch, s_.sequence / s_.cp);
    const int64_t width = size_of(s_.precision.activation);
    const int64_t whole = product({rows, job_.model.hidden, width});
    const int64_t shard = s_.sequence_parallel ? whole / s_.tp : whole;
    const int64_t logits = product({rows, job_.model.vocab / s_.tp, width});
    out.deferred = Bytes(session_.rounded(shard) + session_.rounded(logits));
    const int64_t waiting = *limit == 0 ? s_.micro_batches() : std::min(*limit, s_.micro_batches());
    if (s_.sequence_parallel) buffer_ += std::min<int64_t>(waiting, 2) * session_.rounded(whole);
  }

  int32_t part(BlockPart wanted) const {
    const auto at = std::find_if(program_.blocks.begin(), program_.blocks.end(),
                                 [&](const Block& b) { return b.part == wanted; });
    return static_cast<int32_t>(at - program_.blocks.begin());
  }

  // The chunk's layers as runs of equal blocks.
  std::vector<Run> layer_runs() const {
    std::vector<Run> out;
    for (const StageProgram& stage : program_.stages)
      for (const Run& run : stage.runs) {
        if (block(run.block).part != BlockPart::layer) continue;
        const int64_t first = std::max(run.first_layer, chunk_.layers.first);
        const int64_t end =
            std::min(run.first_layer + run.count, chunk_.layers.first + chunk_.layers.count);
        if (first < end) out.push_back({run.block, first, end - first});
      }
    std::sort(out.begin(), out.end(),
              [](const Run& a, const Run& b) { return a.first_layer < b.first_layer; });
    return out;
  }

  bool uniform_groups() const {
    return s_.recompute == Recompute::full && !s_.megatron.recompute_block &&
           s_.megatron.recompute_layers > 1;
  }

  void place_parameters() {
    if (s_.megatron.fsdp) units_ = std::make_unique<FsdpUnits>(session_, job_);
    const auto add = [&](int32_t index, int64_t copies) {
      const size_t before = session_.leaves().size();
      auto out = std::make_unique<Params>(session_, block(index).graph, job_, copies);
      if (!units_) return out;
      std::vector<aten::Leaf*> leaves;
      for (size_t i = before; i < session_.leaves().size(); ++i)
        leaves.push_back(session_.leaves()[i].get());
      const bool of_layer = block(index).part == BlockPart::layer;
      of_layer ? units_->add_layer(block(index).graph, leaves)
               : units_->add_root(block(index).graph, leaves);
      return out;
    };
    if (chunk_.embedding) embedding_ = add(part(BlockPart::embedding), 1);
    const std::vector<Run> runs = layer_runs();
    // What is gathered ahead of a layer is not the same for all.
    stretches_ = uniform_groups() || units_ ? each(runs) : stretches(runs);
    for (const Stretch& stretch : stretches_)
      for (int32_t index : stretch.blocks) layers_.push_back(add(index, stretch.count));
    if (job_.model.decoder_layers > 0) bridge_ = add(part(BlockPart::bridge), 1);
    if (chunk_.mtp > 0 && !chunk_.embedding)
      mtp_embedding_ = add(part(BlockPart::mtp_embedding), 1);
    for (int64_t i = 0; i < chunk_.mtp; ++i) mtp_.push_back(add(part(BlockPart::mtp_layer), 1));
    if (chunk_.head) head_ = add(part(BlockPart::head), 1);
    if (units_) units_->seal();
  }

  // examples/t5/pretrain_t5.py, get_batch; core/datasets/t5_dataset.py, config_attention_mask.
  void t5_batch(Walk& w) {
    const int64_t b = s_.micro_batch, source = s_.sequence, target = decoder_sequence(job_.model);
    const auto tensor = [&](const aten::Shape& sizes, DType dtype) {
      return aten::allocate(session_, sizes, dtype);
    };
    w.tokens = tensor({b, source}, DType::i64);
    w.decoder_tokens = tensor({b, target}, DType::i64);
    w.labels = tensor({b, target}, DType::i64);
    w.loss_mask = tensor({b, target}, DType::f32);
    if (s_.megatron.local) {
      w.attention_mask = tensor({b, 1, source, source}, DType::boolean);
      w.decoder_mask = tensor({b, 1, target, target}, DType::boolean);
      w.cross_mask = tensor({b, 1, target, source}, DType::boolean);
    } else {
      w.attention_mask = tensor({b, 1, 1, source}, DType::boolean);
      w.decoder_mask = tensor({b, 1, 1, target}, DType::boolean);
    }
  }

  // pretrain_gpt.py, get_batch: the first and the last stage read it.
  void batch(Walk& w) {
    if (w.is_t5()) return t5_batch(w);
    const aten::Shape rows{s_.micro_batch, w.sequence()};
    if (chunk_.embedding || chunk_.mtp > 0) w.tokens = aten::allocate(session_, rows, DType::i64);
    if (chunk_.head) {
      w.labels = aten::allocate(session_, rows, DType::i64);
      w.loss_mask = aten::allocate(session_, rows, DType::f32);
    }
    if ((chunk_.embedding || chunk_.head) && s_.megatron.attention_mask_from_loader)
      w.attention_mask =
          aten::allocate(session_, {s_.micro_batch, 1, w.sequence(), s_.sequence}, DType::boolean);
  }

  bool checkpoints(int64_t layer_in_chunk) const {
    if (s_.recompute != Recompute::full) return false;
    return !s_.megatron.recompute_block || layer_in_chunk < s_.megatron.recompute_layers;
  }

  Tensor one_layer(Walk& w, size_t at, int32_t index, Tensor hidden, bool checkpointed) {
    const auto run = [this, &w, at, index, hidden] {
      return layer(w, *layers_[at], block(index).kind, hidden);
    };
    if (units_)
      return units_->layer(at, std::exchange(hidden, {}), [&](Tensor x) {
        return layer(w, *layers_[at], block(index).kind, std::move(x));
      });
    if (checkpointed) return aten::checkpoint(session_, std::exchange(hidden, {}), run);
    hidden.reset();
    return run();
  }

  // core/recompute.py, uniform: so many layers a checkpoint.
  Tensor layers_in_groups(Walk& w, Tensor hidden) {
    const size_t group = static_cast<size_t>(s_.megatron.recompute_layers);
    for (size_t first = 0; first < stretches_.size(); first += group) {
      const size_t end = std::min(first + group, stretches_.size());
      hidden = aten::checkpoint(session_, hidden, [this, &w, first, end, hidden] {
        Tensor x = hidden;
        for (size_t at = first; at < end; ++at)
          x = one_layer(w, at, stretches_[at].blocks.front(), x, false);
        return x;
      });
    }
    return hidden;
  }

  // t5_model.py, forward: the encoder ends, the decoder's stream begins.
  void cross_over(Walk& w, Tensor& hidden) {
    w.memory = mcore::norm(hidden, bridge_->norm(kEncoderNorm));
    hidden = embed(w, *embedding_, w.decoder_tokens);
  }

  Tensor layers(Walk& w, Tensor hidden) {
    if (uniform_groups()) return layers_in_groups(w, std::move(hidden));
    size_t at = 0;
    for (const Stretch& stretch : stretches_) {
      if (block(stretch.blocks.front()).kind.decoder && !w.memory) cross_over(w, hidden);
      const bool checkpointed = checkpoints(stretch.first_layer - chunk_.layers.first);
      session_.repeat(stretch.count, [&] {
        for (size_t i = 0; i < stretch.blocks.size(); ++i)
          hidden = one_layer(w, at + i, stretch.blocks[i], hidden, checkpointed);
      });
      at += stretch.blocks.size();
    }
    return hidden;
  }

  Tensor forward(Walk& w, Tensor& input) {
    Tensor hidden;
    if (chunk_.embedding) {
      if (units_) units_->root(embedding_->get(w.row.embedding));
      hidden = embed(w, *embedding_, w.tokens);
    } else {
      input = aten::make(session_, "c10d.recv_", w.stream(), s_.precision.activation);
      if (s_.training) session_.require_grad(input);
      hidden = input;
    }
    hidden = layers(w, std::move(hidden));
    if (!chunk_.head) return hidden;
    const std::string_view name = w.row.head;
    Tensor output = head_->find(name);
    if (!output) {
      if (!embedding_)
        throw Error(ErrorKind::not_modelled, "--pipeline-model-parallel-layout",
                    "an output layer tied to the embedding of another chunk is not modelled");
      output = embedding_->get(w.row.embedding);
    }
    if (units_) units_->root(head_->norm(w.row.final_norm).weight);
    hidden = final_norm(w, *head_, hidden);
    if (units_) units_->root(head_->find(name));
    if (!mtp_.empty()) {
      std::vector<const Params*> more;
      for (const auto& p : mtp_) more.push_back(p.get());
      const Params& words = mtp_embedding_ ? *mtp_embedding_ : *embedding_;
      hidden = predict_more(w, more, words, output, std::move(hidden));
    }
    Tensor loss = head(w, *head_, output, std::move(hidden));
    if (units_) units_->leave_model(loss);
    return loss;
  }

  // schedules.py, deallocate_output_tensor: the data is gone, the graph stays.
  Tensor without_data(const Tensor& x) {
    Tensor out = aten::owned_elsewhere(session_, x.sizes(), x.dtype());
    out->grad_fn = x->grad_fn;
    out->output = x->output;
    out->requires_grad = x->requires_grad;
    return out;
  }

  const Job& job_;
  const Strategy& s_;
  const Program& program_;
  const Chunk& chunk_;
  aten::Session session_;
  std::unique_ptr<FsdpUnits> units_;
  std::vector<Stretch> stretches_;
  std::unique_ptr<Params> embedding_, bridge_, mtp_embedding_, head_;
  std::vector<std::unique_ptr<Params>> mtp_;
  std::vector<std::unique_ptr<Params>> layers_;  ///< by position in the stretches
  int64_t base_ = 0, buffer_ = 0;
};

}  // namespace

ChunkMemory walk_chunk(const Job& job, const Program& program, const Chunk& chunk) {
  ChunkMemory out = ChunkWalk(job, program, chunk).run();
  Job evaluating = job;
  evaluating.model.dropout = {};
  out.evaluation = ChunkWalk(evaluating, program, chunk).evaluate();
  return out;
}

}  // namespace memplan::megatron
