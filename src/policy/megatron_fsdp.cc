#include "policy/megatron_fsdp.h"

#include <algorithm>
#include <numeric>

#include "memplan/error.h"

namespace memplan::megatron {
namespace {

constexpr const char* kBuffers = "core/distributed/fsdp/src/megatron_fsdp/param_and_grad_buffer.py";

int64_t rounded(int64_t value, int64_t multiple) {
  return checked_mul(ceil_div(value, multiple), multiple);
}

Bytes block(int64_t elements, DType dtype) {
  return Bytes(rounded(checked_mul(elements, size_of(dtype)), 512));
}

// _get_parameter_groups, step 3: the widest index, or the least common multiple of those that
// neither divide it nor fit into it.
int64_t chunk_of(std::span<const FsdpParam> widest_first) {
  int64_t chunk = widest_first.front().width;
  for (const FsdpParam& p : widest_first) {
    const bool divides = chunk % p.width == 0 && p.elements % chunk == 0;
    if (p.width == chunk || divides || p.elements < chunk) continue;
    chunk = std::lcm(chunk, p.width);
  }
  return chunk;
}

int64_t moments(const Strategy& s) {
  if (s.optimizer == OptimizerKind::sgd) return 0;
  return s.optimizer == OptimizerKind::sgd_momentum ? 1 : 2;
}

}  // namespace

int64_t bucket_elements(const FsdpBucket& bucket) {
  if (bucket.params.empty()) return 0;
  std::vector<FsdpParam> params = bucket.params;
  std::ranges::stable_sort(params, std::greater{}, &FsdpParam::width);
  const int64_t chunk = chunk_of(params);
  std::vector<int64_t> regular, fragments;
  for (const FsdpParam& p : params)
    (p.elements < chunk ? fragments : regular).push_back(p.elements);
  int64_t at = 0;
  while (!regular.empty()) {
    const int64_t item = regular.front();
    regular.erase(regular.begin());
    at = checked_add(at, rounded(item, chunk));
    const int64_t remain = item % chunk;
    if (remain == 0) continue;
    int64_t space = chunk - remain;
    const auto other = std::ranges::find_if(
        regular, [&](int64_t n) { return n % chunk != 0 && remain + n % chunk <= chunk; });
    if (other != regular.end()) {  // its remainder lies before this index's end
      space -= *other % chunk;
      at = checked_add(at, *other / chunk * chunk);
      regular.erase(other);
    }
    std::erase_if(fragments, [&](int64_t n) {
      if (n > space) return false;
      space -= n;
      return true;
    });
  }
  for (const int64_t n : fragments) at = checked_add(at, n);
  return rounded(at, checked_mul(bucket.ranks, chunk));
}

std::vector<FsdpBucket> fsdp_buckets(const Strategy& s, const FsdpUnit& root,
                                     std::span<const FsdpUnit> layers, int64_t dense_ranks,
                                     int64_t expert_ranks) {
  int64_t full = 0, sum = 0;
  if (s.megatron.overlap_grad_reduce)
    full = s.megatron.bucket_elements > 0
               ? s.megatron.bucket_elements
               : std::max<int64_t>(40'000'000, checked_mul(1'000'000, dense_ranks));
  std::vector<FsdpBucket> out;
  for (const FsdpParam& p : root.dense) {
    if (sum == 0) out.push_back({{}, dense_ranks, false});
    out.back().params.push_back(p);
    sum = checked_add(sum, p.elements);
    if (full > 0 && sum >= full) sum = 0;
  }
  for (const FsdpUnit& layer : layers) {
    if (!layer.dense.empty()) out.push_back({layer.dense, dense_ranks, true});
    if (!layer.expert.empty()) out.push_back({layer.expert, expert_ranks, true});
  }
  return out;
}

// megatron_fsdp.py, _init_fsdp_param_and_grad_buffer: what it calls a cap of a billion elements is
// a floor.
FsdpLimits fsdp_limits(const Strategy& s, std::span<const FsdpBucket> buckets, int64_t layers) {
  int64_t unit = s.megatron.communication_unit, elements = 0;
  for (const FsdpBucket& bucket : buckets)
    for (const FsdpParam& p : bucket.params)
      if (bucket.of_layer) elements = checked_add(elements, p.elements);
  if (unit == 0)
    unit =
        std::max<int64_t>(1'000'000'000, checked_mul(2, elements / std::max<int64_t>(1, layers)));
  return {unit / 2, unit};
}

Bytes gathered_bytes(const Strategy& s, const FsdpBucket& bucket) {
  return bucket.ranks == 1 ? Bytes(0) : block(bucket_elements(bucket), s.precision.weight);
}

Bytes reduced_bytes(const FsdpBucket& bucket) {
  return bucket.ranks == 1 ? Bytes(0) : block(bucket_elements(bucket), DType::f32);
}

StateMemory fsdp_state_memory(const Job& job, std::span<const FsdpBucket> buckets) {
  const Strategy& s = job.strategy;
  StateMemory out;
  Bytes masters, states;
  int64_t gradients = 0;
  for (const FsdpBucket& bucket : buckets) {
    const int64_t shard = bucket_elements(bucket) / bucket.ranks;
    out.weights += block(shard, s.precision.weight);
    masters += block(shard, DType::f32);
    states += moments(s) * block(shard, DType::f32);
    gradients = checked_add(gradients, shard);
  }
  out.lines.push_back({Holder::weights, "weights, sharded", out.weights, {}, kBuffers});
  if (!s.training) return out;
  out.gradients = block(gradients, DType::f32);  // of all buckets in one tensor
  out.optimizer = masters + states;
  out.made_by_step = states;
  out.lines.push_back({Holder::gradients, "gradient buffer, sharded", out.gradients, {}, kBuffers});
  out.lines.push_back({Holder::optimizer, "master weights, sharded", masters, {}, kBuffers});
  if (states > Bytes(0))
    out.lines.push_back(
        {Holder::optimizer, "moments, sharded", states, {}, "core/optimizer/distrib_optimizer.py"});
  return out;
}

Bytes fsdp_whole_between_steps(const Strategy& s, std::span<const FsdpBucket> buckets,
                               int64_t layers) {
  Bytes out;
  if (!s.training || s.megatron.log_params_norm) return out;
  const int64_t limit = fsdp_limits(s, buckets, layers).gathered_ahead;
  int64_t ahead = 0;
  for (size_t i = 0; i < buckets.size() && ahead < limit; ++i) {
    out += gathered_bytes(s, buckets[i]);
    if (i > 0) ahead = checked_add(ahead, bucket_elements(buckets[i]));
  }
  return out;
}

// _init_each_parameter_group_buffers: a parameter moves into its bucket, which is freed once all of
// its parameters are there.
Bytes fsdp_initialisation_peak(const Job& job, std::span<const FsdpBucket> buckets) {
  const DType weight = job.strategy.precision.weight;
  const auto made = [&](const FsdpBucket& bucket) {
    Bytes out;
    for (const FsdpParam& p : bucket.params) out += block(p.elements, weight);
    return out;
  };
  // On the meta device a module's parameters get memory once their bucket is there.
  const bool meta = job.strategy.megatron.meta_device;
  Bytes live;
  for (const FsdpBucket& bucket : buckets)
    if (!meta) live += made(bucket);
  Bytes peak = live;
  int64_t gradients = 0;
  for (const FsdpBucket& bucket : buckets) {
    const int64_t shard = bucket_elements(bucket) / bucket.ranks;
    gradients = checked_add(gradients, shard);
    live += block(shard, weight) + block(shard, DType::f32);
    if (meta) live += made(bucket);
    peak = std::max(peak, live + gathered_bytes(job.strategy, bucket));
    live -= made(bucket);
  }
  return std::max(peak, live + block(gradients, DType::f32));
}

void require_fsdp_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  const MegatronSpec& m = s.megatron;
  const auto refuse = [](bool met, const char* where, const char* problem, const char* hint) {
    if (met)
      throw Error(ErrorKind::not_modelled, where,
                  std::string("Megatron-FSDP with ") + problem + " is not modelled", hint);
  };
  constexpr const char* kAway = "leave it away";
  if (s.zero != 3)
    throw Error(ErrorKind::bad_input, "--zero", "contradicts Megatron-FSDP, which shards as ZeRO-3",
                "leave --zero away");
  refuse(job.model.head != ModelHead::causal_lm, "--use-megatron-fsdp", "T5Model", kAway);
  refuse(!job.model.hybrid_pattern.empty(), "--use-megatron-fsdp", "a hybrid model", kAway);
  refuse(s.pp > 1, "--pipeline-model-parallel-size", "pipeline parallelism", kAway);
  refuse(m.mtp_layers > 0, "--mtp-num-layers", "multi-token prediction", kAway);
  refuse(s.peft.kind != PeftKind::none, "--peft", "adapters", kAway);
  refuse(m.local, "--transformer-impl", "layers of the local spec", "use transformer_engine");
  refuse(s.recompute == Recompute::full, "--recompute-granularity", "full recomputation",
         "use selective");
  refuse(m.gradient_accumulation_fusion && s.training, "--use-megatron-fsdp",
         "weight gradients that a product's kernel writes into their bucket",
         "add --no-gradient-accumulation-fusion");
  refuse(s.optimizer == OptimizerKind::muon, "--optimizer", "Muon", "use adam");
  refuse(m.precision_aware_optimizer, "--use-precision-aware-optimizer",
         "the precision-aware optimizer", kAway);
  refuse(s.precision.gradient != DType::f32, "--grad-reduce-in-bf16", "gradients that are not fp32",
         "add --accumulate-allreduce-grads-in-fp32");
  refuse(m.optimizer_instances > 1, "--num-distributed-optimizer-instances",
         "hybrid sharding (more than one instance)", kAway);
}

}  // namespace memplan::megatron
