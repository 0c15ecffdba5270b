#include <fmt/format.h>

#include <algorithm>

#include "input/megatron_layout.h"
#include "input/megatron_model.h"
#include "memplan/units.h"

namespace memplan {
namespace {

using V = MegatronValues;

// `part` must divide `whole`: "--tensor-model-parallel-size: 3 does not divide …".
void require_divides(const StatedCount& part, std::string_view argument, int64_t whole,
                     std::string_view what) {
  if (whole % part.value == 0) return;
  megatron_bad(part.where, argument,
               fmt::format("{} does not divide {} {}", part.value, what, whole),
               fmt::format("nearest: {}", nearest_divisor(whole, part.value)));
}

void tensor_parallel(const V& v, Job& job) {
  const ModelSpec& model = job.model;
  Strategy& s = job.strategy;
  s.tp = v.tp.value;
  require_divides(v.tp, "--tensor-model-parallel-size", model.heads, "--num-attention-heads");
  if (model.kv_heads % s.tp != 0 && s.tp % model.kv_heads != 0)
    megatron_bad(v.tp.where, "--tensor-model-parallel-size",
                 fmt::format("{} neither divides --num-query-groups {} nor is a multiple of it",
                             s.tp, model.kv_heads),
                 fmt::format("nearest: {}", nearest_divisor(model.kv_heads, s.tp)));
  require_divides(v.tp, "--tensor-model-parallel-size", model.ffn, "--ffn-hidden-size");
  s.sequence_parallel = v.sequence_parallel.value && s.tp > 1;
  if (v.sequence_parallel.value && s.tp == 1)
    job.assumptions.push_back(
        "--sequence-parallel counts for nothing without tensor parallelism, as in Megatron-LM");
  if (model.moe.experts > 0 && s.tp > 1 && !s.sequence_parallel)
    megatron_bad(v.tp.where, "--tensor-model-parallel-size",
                 "experts are trained with tensor parallelism only where the sequence is cut too",
                 "add --sequence-parallel");
}

void sequence(const V& v, Job& job) {
  Strategy& s = job.strategy;
  if (v.sequence.given() && v.encoder_sequence.given())
    megatron_bad(v.encoder_sequence.where, "--encoder-seq-length", "is given beside --seq-length",
                 "give one of the two");
  const StatedCount& length = v.encoder_sequence.given() ? v.encoder_sequence : v.sequence;
  if (!length.given()) megatron_missing("--seq-length", "4096");
  s.sequence = length.value;
  if (s.sequence > job.model.max_positions)
    megatron_bad(length.where, "--seq-length",
                 fmt::format("{} is more than --max-position-embeddings {}", s.sequence,
                             job.model.max_positions),
                 fmt::format("nearest: {}", job.model.max_positions));
  s.cp = v.cp.value;
  const int64_t parts = checked_mul(2, s.cp);
  if (s.cp > 1 && s.sequence % parts != 0)
    megatron_bad(
        length.where, "--seq-length",
        fmt::format("{} is no multiple of 2 · --context-parallel-size {}", s.sequence, s.cp),
        fmt::format("nearest: {}", ceil_div(s.sequence, parts) * parts));
  if (s.sequence_parallel && s.sequence / s.cp % s.tp != 0)
    megatron_bad(length.where, "--seq-length",
                 fmt::format("its {} tokens of a rank cannot be cut over {} ranks of tensor "
                             "parallelism",
                             s.sequence / s.cp, s.tp),
                 fmt::format("nearest: {}", ceil_div(s.sequence, s.cp * s.tp) * s.cp * s.tp));
}

void layout(const V& v, Job& job) {
  Strategy& s = job.strategy;
  MegatronSpec& m = s.megatron;
  const std::string& where = v.layout.where;
  constexpr std::string_view kName = "--pipeline-model-parallel-layout";
  if (v.first_stage.given() || v.last_stage.given() || v.for_embedding.value || v.for_loss.value)
    megatron_bad(where, kName, "says the split that other arguments say too",
                 "leave --decoder-first-pipeline-num-layers, --decoder-last-pipeline-num-layers "
                 "and --account-for-… away");
  m.layout = parse_pipeline_layout(v.layout.value, where);
  const auto chunks = static_cast<int64_t>(m.layout.size());
  if (chunks % s.pp != 0)
    megatron_bad(where, kName,
                 fmt::format("its {} chunks cannot be dealt to {} stages", chunks, s.pp),
                 "give each stage as many");
  s.vpp = chunks / s.pp;
  std::string all;
  for (const std::string& chunk : m.layout) all += chunk;
  const auto count = [&](char c) { return static_cast<int64_t>(std::ranges::count(all, c)); };
  if (all.empty() || all.front() != 'E' || count('E') != 1)
    megatron_bad(where, kName, "the embedding E is not its first letter alone", "begin with E");
  if (all.back() != 'L' || count('L') != 1)
    megatron_bad(where, kName, "the loss L is not its last letter alone", "end with L");
  if (count('t') != job.model.layers)
    megatron_bad(
        where, kName,
        fmt::format("it has {} layers t, and --num-layers is {}", count('t'), job.model.layers),
        "give each layer a t");
  if (count('m') != v.mtp_layers.value)
    megatron_bad(where, kName,
                 fmt::format("it has {} layers m, and --mtp-num-layers is {}", count('m'),
                             v.mtp_layers.value),
                 "give each a letter");
  if (all.find('m') < all.rfind('t'))
    megatron_bad(where, kName, "a layer t stands behind an m", "put each m behind the last t");
}

// Layers of stages that arguments do not name; throws where they cannot be cut evenly.
void uneven_split(const V& v, Job& job) {
  Strategy& s = job.strategy;
  int64_t layers = job.model.layers, stages = s.pp;
  const auto take = [&](const StatedCount& stage, std::string_view argument) {
    if (!stage.given()) return;
    if (stage.value % s.vpp != 0)
      megatron_bad(
          stage.where, argument,
          fmt::format("{} layers cannot be cut into {} virtual stages", stage.value, s.vpp),
          fmt::format("nearest: {}", ceil_div(stage.value, s.vpp) * s.vpp));
    layers -= stage.value;
    --stages;
  };
  take(v.first_stage, "--decoder-first-pipeline-num-layers");
  take(v.last_stage, "--decoder-last-pipeline-num-layers");
  const std::string& where = v.first_stage.given() ? v.first_stage.where : v.last_stage.where;
  const std::string_view argument = v.first_stage.given() ? "--decoder-first-pipeline-num-layers"
                                                          : "--decoder-last-pipeline-num-layers";
  const int64_t each = checked_mul(std::max<int64_t>(stages, 1), s.vpp);
  if (layers < 0 || stages < 0 || (layers == 0) != (stages == 0) || layers % each != 0)
    megatron_bad(
        where, argument,
        fmt::format("{} layers are left for {} stages of {} chunks", layers, stages, s.vpp),
        fmt::format("leave a multiple of {}", each));
  s.megatron.first_stage_layers = v.first_stage.value;
  s.megatron.last_stage_layers = v.last_stage.value;
}

void pipeline(const V& v, Job& job) {
  Strategy& s = job.strategy;
  MegatronSpec& m = s.megatron;
  s.pp = v.pp.value;
  s.schedule = ScheduleKind::one_f1b;
  m.account_for_embedding = v.for_embedding.value;
  m.account_for_loss = v.for_loss.value;
  const bool uneven = v.first_stage.given() || v.last_stage.given();
  if (uneven && (v.for_embedding.value || v.for_loss.value))
    megatron_bad(v.for_embedding.value ? v.for_embedding.where : v.for_loss.where,
                 v.for_embedding.value ? "--account-for-embedding-in-pipeline-split"
                                       : "--account-for-loss-in-pipeline-split",
                 "contradicts --decoder-first-pipeline-num-layers and its like",
                 "give one of the two");
  const int said = (v.virtual_layers.given() ? 1 : 0) + (v.virtual_stages.given() ? 1 : 0) +
                   (v.layout.given() ? 1 : 0);
  if (said > 1)
    megatron_bad(v.virtual_stages.given() ? v.virtual_stages.where : v.virtual_layers.where,
                 v.virtual_stages.given() ? "--num-virtual-stages-per-pipeline-rank"
                                          : "--num-layers-per-virtual-pipeline-stage",
                 "is given beside another argument that cuts stages into chunks",
                 "give one of --num-layers-per-virtual-pipeline-stage, "
                 "--num-virtual-stages-per-pipeline-rank, --pipeline-model-parallel-layout");
  if (v.layout.given()) return layout(v, job);

  s.vpp = v.virtual_stages.given() ? v.virtual_stages.value : 1;
  if (uneven) {
    if (v.virtual_layers.given())
      megatron_bad(v.virtual_layers.where, "--num-layers-per-virtual-pipeline-stage",
                   "does not go with stages of different lengths",
                   "use --num-virtual-stages-per-pipeline-rank");
    return uneven_split(v, job);
  }
  const int64_t layers =
      job.model.layers + (v.for_embedding.value ? 1 : 0) + (v.for_loss.value ? 1 : 0);
  require_divides(v.pp, "--pipeline-model-parallel-size", layers,
                  layers == job.model.layers ? "--num-layers" : "--num-layers with what counts as");
  const int64_t of_stage = layers / s.pp;
  if (v.virtual_layers.given()) {
    require_divides(v.virtual_layers, "--num-layers-per-virtual-pipeline-stage", of_stage,
                    "the layers of a stage,");
    s.vpp = of_stage / v.virtual_layers.value;
  }
  if (v.virtual_stages.given())
    require_divides(v.virtual_stages, "--num-virtual-stages-per-pipeline-rank", of_stage,
                    "the layers of a stage,");
}

void interleaving(const V& v, const Strategy& s) {
  if (s.vpp == 1) return;
  const int64_t least = v.no_overlap_p2p.value ? 3 : 2;
  if (s.pp < least)
    megatron_bad(v.pp.where, "--pipeline-model-parallel-size",
                 fmt::format("{} virtual stages need {} stages at least{}", s.vpp, least,
                             least == 3 ? ", without overlap of their messages" : ""),
                 fmt::format("nearest: {}", least));
  if (v.micro_batch_group.given() && v.micro_batch_group.value < s.pp)
    megatron_bad(v.micro_batch_group.where, "--microbatch-group-size-per-virtual-pipeline-stage",
                 fmt::format("{} is less than --pipeline-model-parallel-size {}",
                             v.micro_batch_group.value, s.pp),
                 fmt::format("nearest: {}", s.pp));
}

void expert_parallel(const V& v, Job& job) {
  Strategy& s = job.strategy;
  const MoeSpec& moe = job.model.moe;
  s.ep = v.ep.value;
  s.megatron.expert_tp = v.expert_tp.value;
  if (s.ep > 1 && moe.experts == 0)
    megatron_bad(v.ep.where, "--expert-model-parallel-size", "the model has no experts",
                 "add --num-experts N, or leave it away");
  if (moe.experts == 0) return;
  require_divides(v.ep, "--expert-model-parallel-size", moe.experts, "--num-experts");
  require_divides(
      v.expert_tp.given() ? v.expert_tp : v.tp,
      v.expert_tp.given() ? "--expert-tensor-parallel-size" : "--tensor-model-parallel-size",
      moe.expert_ffn, "the width of an expert,");
}

void data_parallel(const V& v, Strategy& s) {
  MegatronSpec& m = s.megatron;
  const bool distributed = v.distributed_optimizer.value || v.optimizer.value == "dist_muon";
  s.zero = distributed ? 1 : 0;
  m.overlap_grad_reduce = v.overlap_grad_reduce.value;
  m.overlap_param_gather = v.overlap_param_gather.value;
  if (m.overlap_param_gather && !distributed)
    megatron_bad(v.overlap_param_gather.where, "--overlap-param-gather",
                 "needs the distributed optimizer", "add --use-distributed-optimizer");
  if (m.overlap_param_gather && !m.overlap_grad_reduce)
    megatron_bad(v.overlap_param_gather.where, "--overlap-param-gather",
                 "needs gradients to be reduced under backward", "add --overlap-grad-reduce");
  m.bucket_elements = v.bucket_size.value;
  m.buckets = v.buckets.value;
  if (v.bucket_size.given() && v.buckets.given())
    megatron_bad(v.buckets.where, "--ddp-num-buckets", "contradicts --ddp-bucket-size",
                 "give one of the two");
  m.pad_buckets = v.pad_buckets.value;
  m.optimizer_instances = v.optimizer_instances.value;
  if (m.optimizer_instances > 1 && !distributed)
    megatron_bad(v.optimizer_instances.where, "--num-distributed-optimizer-instances",
                 "needs the distributed optimizer", "add --use-distributed-optimizer");
}

// Its buffers' dtypes are fp32, which accumulating gradients in fp32 says too
// (mcore_fsdp_adapter.py: grad_reduce_in_fp32 goes before them).
void fully_sharded(const V& v, Strategy& s) {
  if (!v.megatron_fsdp.value) return;
  s.megatron.log_params_norm = v.log_params_norm.value;
  s.megatron.meta_device = v.meta_device.value;
  const std::string& where = v.megatron_fsdp.where;
  if (v.fsdp_sharding.value != "optim_grads_params")
    megatron_refuse(where, "--data-parallel-sharding-strategy " + v.fsdp_sharding.value +
                               " of Megatron-FSDP is not modelled; optim_grads_params is");
  if (!v.distributed_optimizer.value)
    megatron_refuse(where,
                    "--use-megatron-fsdp without --use-distributed-optimizer is not modelled");
  if (v.fsdp_params.value != "fp32")
    megatron_refuse(v.fsdp_params.where, "--megatron-fsdp-main-params-dtype " +
                                             v.fsdp_params.value + " is not modelled");
  const auto& given = v.fsdp_grads.value != "auto" ? v.fsdp_grads : v.fsdp_comm;
  if (given.value != "auto" && given.value != "fp32" && s.precision.gradient != DType::f32)
    megatron_refuse(given.where,
                    "Megatron-FSDP's gradients in " + given.value + " are not modelled");
  s.zero = 3;
  s.megatron.fsdp = true;
  s.megatron.communication_unit = v.communication_unit.value;
}

// ModelParallelConfig.__post_init__.
void head_gradients(const V& v, Strategy& s) {
  if (!v.defer_head_wgrad.value) return;
  constexpr const char* kName = "--defer-embedding-wgrad-compute";
  const std::string& where = v.defer_head_wgrad.where;
  if (s.pp == 1)
    megatron_bad(where, kName, "fills the time in which a pipeline drains, and there is none",
                 "add --pipeline-model-parallel-size, or leave it away");
  if (v.no_accumulation_fusion.value)
    megatron_bad(where, kName, "needs gradients to be accumulated by the product's own kernel",
                 "leave --no-gradient-accumulation-fusion away");
  s.megatron.deferred_head_gradients = v.wgrad_deferral_limit.value;
}

}  // namespace

void apply_megatron_parallel(const V& v, Job& job) {
  tensor_parallel(v, job);
  sequence(v, job);
  pipeline(v, job);
  interleaving(v, job.strategy);
  expert_parallel(v, job);
  head_gradients(v, job.strategy);
  data_parallel(v, job.strategy);
  fully_sharded(v, job.strategy);
  MegatronSpec& m = job.strategy.megatron;
  m.micro_batch_group = v.micro_batch_group.value;
  m.overlap_p2p = !v.no_overlap_p2p.value;
  m.cp_communication.clear();
  for (const std::string& word : v.cp_communication.value)
    m.cp_communication += (m.cp_communication.empty() ? "" : " ") + word;
}

}  // namespace memplan
