#include "cost/traffic.h"

#include <algorithm>

#include "cost/collectives.h"
#include "cost/process_groups.h"
#include "cost/states.h"
#include "lower/huggingface/quantized.h"
#include "policy/deepspeed.h"
#include "policy/fsdp.h"
#include "policy/megatron_muon.h"

namespace memplan {
namespace {

struct Message {
  Collective collective;
  CommGroup group;
  std::string_view phase;
  std::string_view what;
  int64_t count;
  Bytes bytes;
  int64_t ranks = 0;  ///< fewer than the group's: some of it
  int64_t span = 0;   ///< GPUs between the first and the last of those
};

class Meter {
 public:
  explicit Meter(const Job& job) : job_(job) {}

  void add(const Message& m) {
    const std::vector<GroupAxis> axes = group_axes(job_.strategy, m.group);
    const int64_t ranks = m.ranks > 0 ? m.ranks : group_ranks(axes);
    if (ranks < 2 || m.count == 0 || m.bytes == Bytes(0)) return;
    const Algorithm wanted = job_.strategy.tree_collectives ? Algorithm::tree : Algorithm::ring;
    const Sent sent = bytes_sent(m.collective, wanted, ranks, m.bytes);
    for (Traffic& row : rows_) {
      if (row.group != to_string(m.group) || row.collective != to_string(m.collective) ||
          row.phase != m.phase || row.what != m.what || row.bytes != m.bytes)
        continue;
      row.count = checked_add(row.count, m.count);
      row.bytes_sent_per_gpu += sent.bytes * m.count;
      return;
    }
    Traffic row;
    row.group = to_string(m.group);
    row.collective = to_string(m.collective);
    row.algorithm = to_string(sent.algorithm);
    row.phase = m.phase;
    row.what = m.what;
    row.ranks = ranks;
    row.count = m.count;
    row.bytes = m.bytes;
    row.bytes_sent_per_gpu = sent.bytes * m.count;
    const int64_t span = m.span > 0 ? m.span : group_span(axes);
    row.crosses_nodes = span > job_.cluster.gpus_per_node;
    rows_.push_back(std::move(row));
  }

  std::vector<Traffic> take() { return std::move(rows_); }

 private:
  const Job& job_;
  std::vector<Traffic> rows_;
};

void add_model_comms(const Job& job, const FoldedProgram& folded, const Run& run, Meter& meter) {
  const Block& block = folded.program.blocks[static_cast<size_t>(run.block)];
  const bool again = block.part == BlockPart::layer && job.strategy.recompute == Recompute::full &&
                     folded.summaries[static_cast<size_t>(run.block)].again > Bytes(0);
  const int64_t count = checked_mul(run.count, job.strategy.micro_batches());
  for (const Comm& comm : block.graph.comms) {
    const std::string_view what =
        block.part == BlockPart::layer ? std::string_view("layers") : std::string_view(block.label);
    meter.add({comm.collective, comm.group, comm.backward ? "backward" : "forward", what, count,
               comm.bytes});
    if (again && !comm.backward && comm.recomputed)
      meter.add({comm.collective, comm.group, "recompute", what, count, comm.bytes});
  }
}

struct Slice {  // of the replica, one sharding group
  int64_t elements, trainable;
  int64_t packed = 0;    // of the elements: 4-bit weights
  bool backward = true;  // false: nothing in or before it is trained, so backward stops above it
};

int64_t packed_elements(const Job& job, const Block& block) {
  const FamilyRow row = family_row(job.model);
  int64_t sum = 0;
  for (const Param& p : block.graph.params)
    if (hf::quantizes(job.strategy, row, p)) sum = checked_add(sum, p.local_elements());
  return sum;
}

bool has_backward(const Block& block) {
  const Graph& graph = block.graph;
  return graph.context.training && (graph.context.input_requires_grad ||
                                    std::any_of(graph.params.begin(), graph.params.end(),
                                                [](const Param& p) { return p.trainable; }));
}

// What data parallelism moves for a stretch of parameters that is handled `stretches` times.
void add_data_parallel(const Job& job, CommGroup group, std::string_view what, Slice slice,
                       int64_t stretches, Meter& meter) {
  const Strategy& s = job.strategy;
  // DeepSpeed's communication_data_type is that of the weights, whatever accumulates gradients.
  const bool engine = deepspeed::partitions(s);
  const DType reduced_in = engine ? s.precision.weight : s.precision.gradient;
  const Bytes gradients(checked_mul(slice.trainable, size_of(reduced_in)));
  const Bytes weights(checked_mul(slice.elements, size_of(s.precision.weight)));
  const Bytes updated(checked_mul(slice.trainable, size_of(s.precision.weight)));
  const int64_t m = s.micro_batches();
  const auto add = [&](Collective collective, std::string_view phase, std::string_view part,
                       int64_t count, Bytes bytes) {
    meter.add({collective, group, phase, part, checked_mul(count, stretches), bytes});
  };
  if (fsdp::shards_parameters(s)) {
    const bool stays = s.fsdp.after_forward == 1 ||
                       (fsdp::flattens(s) && s.fsdp.sharding != Fsdp::Sharding::full_shard);
    const DType gathered = fsdp::compute_dtype(s, s.precision.weight);
    // Whole on every GPU where they are packed as integers.
    const int64_t packed = s.quantization.storage ? slice.packed / 2 : 0;
    const Bytes whole(
        checked_add(checked_mul(slice.elements - slice.packed, size_of(gathered)), packed));
    const Bytes reduced(
        checked_mul(slice.trainable, size_of(s.fsdp.reduce_dtype.value_or(gathered))));
    // DeviceMesh (replicate, shard): the GPUs of one copy are neighbours.
    const int64_t cut = fsdp::shards(s);
    const auto within = [&](Collective collective, std::string_view phase, int64_t count,
                            Bytes bytes) {
      meter.add({collective, group, phase, what, checked_mul(count, stretches), bytes, cut, cut});
    };
    const int64_t times = s.fsdp.reduces_each ? m : 1;
    // FSDP1's _should_free_in_backward: what stays, stays until gradients are reduced.
    within(Collective::all_gather, "forward", stays && fsdp::flattens(s) ? times : m, whole);
    if (!slice.backward) return;
    if (!stays) within(Collective::all_gather, "backward", m, whole);
    within(Collective::reduce_scatter, "backward", times, reduced);
    if (fsdp::flattens(s) && s.fsdp.sharding == Fsdp::Sharding::no_shard)
      add(Collective::all_reduce, "backward", what, times, reduced);
    if (s.fsdp.replicas > 1)
      meter.add({Collective::all_reduce, group, "backward", what, checked_mul(times, stretches),
                 Bytes(ceil_div(reduced.count(), cut)), s.fsdp.replicas, s.dp});
    return;
  }
  if (s.zero == 3) {
    add(Collective::all_gather, "forward", what, m, weights);
    if (!slice.backward) return;
    add(Collective::all_gather, "backward", what, m, weights);
    add(Collective::reduce_scatter, "backward", what, m, gradients);
    return;
  }
  if (!s.training) return;
  // Muon's layer-wise distributed optimizer leaves DistributedDataParallel as it is without, unless
  // it lays out its buffers
  // (NVIDIA/Megatron-LM, core/optimizer/layer_wise_optimizer.py).
  const bool layer_wise = s.framework == Framework::megatron && s.zero > 0 &&
                          s.optimizer == OptimizerKind::muon && !megatron::has_muon_buffers(s);
  const bool whole = layer_wise || (engine && deepspeed::wrapper(s) == deepspeed::Wrapper::bf16);
  if (s.zero == 0 || whole) {
    add(Collective::all_reduce, "backward", "gradients", 1, gradients);
    if (whole) add(Collective::all_gather, "optimizer step", "parameters", 1, updated);
    return;
  }
  add(Collective::reduce_scatter, "backward", "gradients", s.zero == 2 ? m : 1, gradients);
  add(Collective::all_gather, "optimizer step", "parameters", 1, updated);
}

void add_data_parallel(const Job& job, const FoldedProgram& folded, int64_t stage, Meter& meter) {
  const auto& runs = folded.program.stages[static_cast<size_t>(stage)].runs;
  const bool gathers = job.strategy.zero == 3 || fsdp::shards_parameters(job.strategy);
  GroupSummary dense, expert;
  for (const Run& run : runs) {
    const BlockSummary& block = folded.summaries[static_cast<size_t>(run.block)];
    dense += block.dense * run.count;
    expert += block.expert * run.count;
    if (!gathers) continue;
    const Block& whole = folded.program.blocks[static_cast<size_t>(run.block)];
    const bool backward = has_backward(whole);
    add_data_parallel(
        job, CommGroup::data_parallel, whole.label,
        {block.dense.elements, block.dense.trainable, packed_elements(job, whole), backward},
        run.count, meter);
    add_data_parallel(job, CommGroup::expert_data_parallel, whole.label,
                      {block.expert.elements, block.expert.trainable, 0, backward}, run.count,
                      meter);
  }
  if (gathers) return;
  add_data_parallel(job, CommGroup::data_parallel, "gradients", {dense.elements, dense.trainable},
                    1, meter);
  add_data_parallel(job, CommGroup::expert_data_parallel, "gradients",
                    {expert.elements, expert.trainable}, 1, meter);
}

// Chunks of a stage whose input comes from another stage and needs a gradient there.
int64_t chunks_with_input_gradient(const Job& job, const FoldedProgram& folded, int64_t stage) {
  int64_t chunks = 0;
  for (const LayerRange& range : stage_layers(job, job.model.layers, stage))
    for (const Run& run : folded.program.stages[static_cast<size_t>(stage)].runs) {
      const Block& block = folded.program.blocks[static_cast<size_t>(run.block)];
      const bool first = block.part == BlockPart::layer && range.first > 0 &&
                         range.first >= run.first_layer &&
                         range.first < run.first_layer + run.count;
      if (first && block.graph.context.input_requires_grad) ++chunks;
    }
  return chunks;
}

void add_pipeline(const Job& job, const FoldedProgram& folded, int64_t stage, Meter& meter) {
  const Strategy& s = job.strategy;
  if (s.pp == 1) return;
  int64_t tokens = checked_mul(s.micro_batch, s.sequence / s.cp);
  if (s.sequence_parallel) tokens = ceil_div(tokens, s.tp);
  const Bytes message(product({tokens, job.model.hidden, size_of(s.precision.activation)}));
  const int64_t passes = checked_mul(s.micro_batches(), s.vpp);
  // With several chunks the last stage also sends on, to the first stage's next chunk.
  const int64_t forward = stage + 1 < s.pp ? passes : passes - s.micro_batches();
  const int64_t backward =
      checked_mul(s.micro_batches(), chunks_with_input_gradient(job, folded, stage));
  meter.add({Collective::send_receive, CommGroup::pipeline_parallel, "forward", "activations",
             forward, message});
  if (!s.training) return;
  meter.add({Collective::send_receive, CommGroup::pipeline_parallel, "backward",
             "activation gradients", backward, message});
  if (!job.model.tie_embeddings || (stage != 0 && stage != s.pp - 1)) return;
  for (const Run& run : folded.program.stages[static_cast<size_t>(s.pp - 1)].runs)
    for (const Param& p : folded.program.blocks[static_cast<size_t>(run.block)].graph.params)
      if (p.tied_copy && p.trainable)
        meter.add({Collective::all_reduce, CommGroup::embedding, "backward", "tied embedding", 1,
                   Bytes(checked_mul(p.local_elements(), size_of(s.precision.gradient)))});
}

// torch.nn.DataParallel: no process group; GPU 0 copies to and from the others, as one message
// each.
std::vector<Traffic> data_parallel_module(const Job& job, const FoldedProgram& folded) {
  const Strategy& s = job.strategy;
  GroupSummary all;
  for (const Run& run : folded.program.stages[0].runs) {
    const BlockSummary& block = folded.summaries[static_cast<size_t>(run.block)];
    all += block.dense * run.count;
    all += block.expert * run.count;
  }
  Meter meter(job);
  meter.add({Collective::broadcast, CommGroup::data_parallel, "forward", "replicas of the weights",
             s.micro_batches(), Bytes(checked_mul(all.elements, size_of(s.precision.weight)))});
  const Bytes outputs(checked_mul(output_elements(job, folded), size_of(s.precision.activation)));
  meter.add({Collective::send_receive, CommGroup::data_parallel, "forward", "outputs to GPU 0",
             s.micro_batches(), outputs});
  if (s.training) {
    meter.add({Collective::send_receive, CommGroup::data_parallel, "backward",
               "output gradients from GPU 0", s.micro_batches(), outputs});
    meter.add({Collective::send_receive, CommGroup::data_parallel, "backward", "gradients to GPU 0",
               s.micro_batches(),
               Bytes(checked_mul(all.trainable, size_of(s.precision.gradient)))});
  }
  return meter.take();
}

}  // namespace

std::vector<Traffic> stage_traffic(const Job& job, const FoldedProgram& folded, int64_t stage) {
  if (job.strategy.data_parallel == DataParallelKind::data_parallel)
    return data_parallel_module(job, folded);
  Meter meter(job);
  for (const Run& run : folded.program.stages[static_cast<size_t>(stage)].runs)
    add_model_comms(job, folded, run, meter);
  add_pipeline(job, folded, stage, meter);
  add_data_parallel(job, folded, stage, meter);
  return meter.take();
}

std::vector<Traffic> busiest_traffic(const Job& job, const FoldedProgram& folded) {
  std::vector<Traffic> busiest;
  Bytes most(-1);
  for (int64_t stage = 0; stage < job.strategy.pp; ++stage) {
    std::vector<Traffic> rows = stage_traffic(job, folded, stage);
    Bytes sent;
    for (const Traffic& row : rows) sent += row.bytes_sent_per_gpu;
    if (sent <= most) continue;
    most = sent;
    busiest = std::move(rows);
  }
  return busiest;
}

std::vector<Traffic> bare_traffic(const Job& job, int64_t elements) {
  Meter meter(job);
  add_data_parallel(job, CommGroup::data_parallel, "all parameters", {elements, elements}, 1,
                    meter);
  return meter.take();
}

}  // namespace memplan
