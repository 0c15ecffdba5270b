#include "policy/fsdp2.h"

#include <algorithm>

#include "memplan/error.h"
#include "ops/optimizer.h"

namespace memplan::fsdp2 {
namespace {

int64_t row(const Parameter& p) {
  int64_t out = 1;
  for (int i = 1; i < p.dims; ++i) out = checked_mul(out, p.shape[static_cast<size_t>(i)]);
  return out;
}

// _fsdp_param.py init_dtype_attrs: the same dtype for both is none of its own.
std::optional<DType> own_reduce_dtype(const Fsdp& fsdp) {
  return fsdp.reduce_dtype == fsdp.param_dtype ? std::nullopt : fsdp.reduce_dtype;
}

}  // namespace

bool groups_ends(const Strategy& s) {
  return s.framework == Framework::torchtitan && !(s.torchtitan < Version{0, 2, 0});
}
bool keeps_last_layer(const Strategy& s) {
  return s.framework == Framework::torchtitan && !groups_ends(s);
}

Bytes mesh_bytes(const Job& job) {
  // torchtitan makes its meshes beforehand, but for HSDP's, which it takes out of another.
  if (job.strategy.framework == Framework::torchtitan && job.strategy.fsdp.replicas == 1) return {};
  // FSDP1 reads a mesh of one dimension alone (_init_utils.py _init_process_group_state).
  const bool read = fsdp::flattens(job.strategy) ? job.strategy.fsdp.replicas == 1
                                                 : fsdp::shards_parameters(job.strategy);
  const bool seen = job.backend == Backend::cpu && read;
  return Bytes(seen ? checked_mul(job.strategy.dp, size_of(DType::f32)) : 0);
}

int64_t Parameter::elements() const { return checked_mul(shape[0], row(*this)); }

// _fsdp_common.py _chunk_with_empty, _fsdp_param.py _init_sharded_param
Shard shard(const Parameter& p, int64_t world, int64_t rank) {
  const int64_t rows = ceil_div(p.shape[0], world);
  const int64_t first = std::min(checked_mul(rank, rows), p.shape[0]);
  Shard out{p.shape, checked_mul(rows, row(p))};
  out.shape[0] = std::min(rows, p.shape[0] - first);
  return out;
}

bool cut_unevenly(const Parameter& p, int64_t world) { return p.shape[0] % world != 0; }

Buffers buffers(std::span<const Parameter> group, const Strategy& s,
                std::optional<int64_t> after_forward) {
  Buffers out;
  const int64_t world = fsdp::shards(s);
  const int64_t kept_over = after_forward.value_or(world);
  out.whole_after_forward = after_forward == 1;
  const auto reduce = own_reduce_dtype(s.fsdp);
  for (const Parameter& p : group) {
    const DType compute = fsdp::compute_dtype(s, p.stored);
    const DType reduced = reduce.value_or(compute);
    const int64_t padded = shard(p, world, 0).padded;
    ParamBuffers own;
    own.sharded = checked_mul(padded, size_of(p.stored));
    own.unsharded = product({padded, world, size_of(compute)});
    if (compute != p.stored) own.cast = checked_mul(padded, size_of(compute));
    if (kept_over > 1 && kept_over < world) own.resharded = own.unsharded / kept_over;
    out.gathered = checked_add(out.gathered, own.unsharded);
    if (p.trained) {
      own.accumulated = checked_mul(p.elements(), size_of(reduced));
      out.reduced = checked_add(out.reduced, checked_mul(padded, size_of(reduced)));
      out.gradients = checked_add(out.gradients, own.sharded);
      out.casts_gradients = reduced != p.stored;
      out.accumulates_apart = reduced != compute;
    }
    out.params.push_back(own);
  }
  out.reduce_input = checked_mul(out.reduced, world);
  // FSDPParamGroup._all_reduce_state, from torch 2.6 on: pytorch issue 179128 measures it
  out.keeps_reduced = s.fsdp.replicas > 1;
  return out;
}

void require_modelled(const Job& job) {
  fsdp::require_modelled(job);
  const Strategy& s = job.strategy;
  const auto refuse = [](const std::string& where, const std::string& problem,
                         const std::string& hint) {
    throw Error(ErrorKind::not_modelled, where, problem, hint);
  };
  if (s.torch < Version{2, 6, 0})
    refuse("--torch-version", "torch.distributed.fsdp.fully_shard came with torch 2.6",
           "use a later one");
  if (s.fsdp.wrap != Fsdp::Wrap::layers)
    refuse("--wrap-policy none", "fully_shard of the model alone is not modelled", "use layers");
  if (s.quantization.kind == QuantKind::int8)
    refuse("--quantization int8", "fully_shard does not take bitsandbytes' Int8Params",
           "use nf4, or --framework huggingface");
  if (s.quantization.kind != QuantKind::none && fsdp::offloads(s))
    refuse("--offload", "CPUOffloadPolicy of a model with 4-bit weights is not modelled",
           "leave it away");
  if (s.quantization.storage && s.quantization.kind == QuantKind::none)
    throw Error(ErrorKind::bad_input, "--quant-storage", "no weight is quantized",
                "add --quantization nf4, or leave it away");
  if (const auto storage = s.quantization.storage;
      storage && fsdp::compute_dtype(s, *storage) != *storage)
    throw Error(ErrorKind::bad_input, "--quant-storage",
                "weights packed as " + std::string(to_string(*storage)) + " and gathered in " +
                    std::string(to_string(fsdp::compute_dtype(s, *storage))) + " lose their bits",
                "use the dtype of --param-dtype");
  const int64_t world = fsdp::shards(s);
  for (const auto& after : {s.fsdp.after_forward, s.fsdp.root_after_forward}) {
    // _fsdp_init.py _get_post_forward_mesh_info
    if (after && (*after < 1 || *after > world || world % *after != 0))
      throw Error(ErrorKind::bad_input, "--reshard-after-forward",
                  std::to_string(*after) + " is no factor of the " + std::to_string(world) +
                      " GPUs that share a parameter",
                  "use true, false, or such a factor");
  }
}

std::vector<std::string> assumptions(const Job& job) {
  const Strategy& s = job.strategy;
  std::vector<std::string> out;
  out.push_back(groups_ends(s)
                    ? "fully_shard of torch 2.14 on the embedding, on each layer, and on "
                      "norm and head together"
                    : "fully_shard of torch 2.14 on each layer and on the model");
  out.push_back(
      "each stream's tensors count until Python drops them: neither record_stream nor a late free "
      "by another stream keeps them longer");
  if (s.fsdp.replicas > 1)
    out.push_back("HSDP: " + std::to_string(s.fsdp.replicas) + " copies of the model, each over " +
                  std::to_string(fsdp::shards(s)) +
                  " GPUs; what is all-reduced waits for the end of backward");
  if (s.quantization.kind != QuantKind::none)
    out.push_back(s.quantization.storage
                      ? "4-bit weights are sharded as " +
                            std::string(to_string(*s.quantization.storage)) +
                            "; their scales are whole on every GPU"
                      : "4-bit weights are whole on every GPU, as accelerate 1.15 leaves those in "
                        "uint8, the default of bnb_4bit_quant_storage; all else is sharded");
  if (s.micro_batches() > 1)
    out.push_back(s.fsdp.reduces_each
                      ? "gradients are reduced with every micro-batch"
                      : "gradients are reduced with the last micro-batch alone, whole until then");
  return out;
}

// accelerate 1.15, utils/fsdp_utils.py fsdp2_prepare_model; torchtitan, parallelize_llama.
std::vector<std::string> not_modelled(const Job& job) {
  if (job.strategy.framework == Framework::torchtitan) return {};
  return {
      "embedding and head in groups of their own, as accelerate 1.15 and torchtitan have them: "
      "here they are gathered and reduced together"};
}

}  // namespace memplan::fsdp2
