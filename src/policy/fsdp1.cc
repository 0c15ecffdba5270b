#include "policy/fsdp1.h"

#include <algorithm>

#include "memplan/error.h"
#include "policy/fsdp.h"

namespace memplan::fsdp1 {

bool is_whole(const Strategy& s) {
  return s.fsdp.sharding == Fsdp::Sharding::no_shard || fsdp::shards(s) == 1;
}

int64_t FlatParameter::within(size_t param, int64_t rank) const {
  const int64_t first = checked_mul(rank, shard);
  const int64_t begin = std::max(offset[param], first);
  const int64_t end = std::min(offset[param] + elements[param], first + shard);
  return std::max<int64_t>(end - begin, 0);
}

// _init_flat_param_and_metadata, _get_shard
FlatParameter flatten(std::span<const int64_t> elements, const Strategy& s, DType compute) {
  constexpr int64_t kAlignment = 16;  // bytes, _get_aligned_numel
  FlatParameter out;
  const auto pad = [&](int64_t multiple) {
    const int64_t more = checked_mul(ceil_div(out.total, multiple), multiple) - out.total;
    if (more == 0) return;
    out.padding.push_back(more);
    out.total = checked_add(out.total, more);
  };
  for (const int64_t count : elements) {
    if (s.fsdp.use_orig_params) pad(kAlignment / size_of(compute));
    out.offset.push_back(out.total);
    out.elements.push_back(count);
    out.total = checked_add(out.total, count);
  }
  const int64_t world = fsdp::shards(s);
  // The group of NO_SHARD is all GPUs.
  if (s.fsdp.use_orig_params) pad(is_whole(s) ? s.dp : world);
  out.shard = ceil_div(out.total, world);
  out.padded = checked_mul(out.shard, world);
  return out;
}

void require_modelled(const Job& job) {
  fsdp::require_modelled(job);
  const Strategy& s = job.strategy;
  const auto refuse = [](const std::string& where, const std::string& problem,
                         const std::string& hint) {
    throw Error(ErrorKind::not_modelled, where, problem, hint);
  };
  if (s.tp > 1)
    refuse("--tp", "FullyShardedDataParallel of layers that are cut already is not modelled",
           "use --framework fsdp2");
  if (s.quantization.kind != QuantKind::none)
    refuse("--quantization", "flat parameters of packed weights are not modelled",
           "use --framework fsdp2");
  if (s.peft.kind != PeftKind::none || s.trainable.kind != Trainable::Kind::all)
    refuse(s.peft.kind != PeftKind::none ? "--peft" : "--train",
           "flat parameters that are trained in part are not modelled", "use --framework fsdp2");
  if (s.fsdp.after_forward || s.fsdp.root_after_forward)
    throw Error(ErrorKind::bad_input, "--reshard-after-forward",
                "FullyShardedDataParallel says it by its sharding strategy",
                "use --sharding-strategy shard-grad-op in place of false");
  const bool whole = s.fsdp.sharding == Fsdp::Sharding::no_shard;
  if (s.fsdp.replicas > 1 && (whole || fsdp::shards(s) == 1))
    throw Error(ErrorKind::bad_input, "--dp-replicate", "copies over one GPU each are not sharded",
                "use --sharding-strategy no-shard without it");
  if (fsdp::offloads(s) && s.fsdp.reduces_each && s.micro_batches() > 1)
    refuse("--offload",
           "FullyShardedDataParallel cannot add up reduced gradients on the host "
           "(prepare_gradient_for_backward)",
           "use --gradient-sync last");
  if (fsdp::offloads(s) && is_whole(s))
    refuse("--offload", "NO_SHARD with CPU offload is not modelled", "use another strategy");
}

std::vector<std::string> not_modelled(const Job& job) {
  if (!job.strategy.fsdp.forward_prefetch) return {};
  return {"that forward_prefetch begins with the second step, when the units' order is known"};
}

std::vector<std::string> assumptions(const Job& job) {
  const Strategy& s = job.strategy;
  std::vector<std::string> out;
  out.push_back(s.fsdp.wrap == Fsdp::Wrap::layers
                    ? "FullyShardedDataParallel of torch 2.14 on each layer and on the model, "
                      "whose own parameters are not resharded after forward"
                    : "FullyShardedDataParallel of torch 2.14 on the model alone: one unit");
  out.push_back(
      "each stream's tensors count until Python drops them: what record_stream keeps longer is not "
      "counted as allocated; limit_all_gathers bounds it to two units");
  if (s.fsdp.replicas > 1)
    out.push_back("HYBRID_SHARD: " + std::to_string(s.fsdp.replicas) +
                  " copies of the model, each over " + std::to_string(fsdp::shards(s)) + " GPUs");
  if (s.micro_batches() > 1)
    out.push_back(s.fsdp.reduces_each
                      ? "gradients are reduced with every micro-batch"
                      : "no_sync: gradients are reduced with the last micro-batch alone, whole "
                        "until then");
  return out;
}

}  // namespace memplan::fsdp1
