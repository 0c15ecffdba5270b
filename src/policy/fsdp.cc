#include "policy/fsdp.h"

#include <string>

#include "memplan/error.h"
#include "ops/optimizer.h"

namespace memplan::fsdp {

bool shards_parameters(const Strategy& s) { return cuts_each(s) || flattens(s); }

bool cuts_each(const Strategy& s) {
  return s.framework == Framework::fsdp2 || s.framework == Framework::torchtitan;
}

bool flattens(const Strategy& s) { return s.framework == Framework::fsdp1; }

int64_t shards(const Strategy& s) {
  const bool whole = flattens(s) && s.fsdp.sharding == Fsdp::Sharding::no_shard;
  return whole ? 1 : s.dp / s.fsdp.replicas;
}

bool offloads(const Strategy& s) { return s.offload.parameters == Placement::cpu; }

DType compute_dtype(const Strategy& s, DType stored) {
  return shards_parameters(s) ? s.fsdp.param_dtype.value_or(stored) : stored;
}

void require_modelled(const Job& job) {
  const Strategy& s = job.strategy;
  const std::string name = flattens(s) ? "FullyShardedDataParallel" : "fully_shard";
  const auto refuse = [](const std::string& where, const std::string& problem,
                         const std::string& hint) {
    throw Error(ErrorKind::not_modelled, where, problem, hint);
  };
  if (job.model.decoder_layers > 0)
    refuse("--framework " + std::string(to_string(s.framework)),
           name + " of an encoder-decoder is not modelled", "use --framework huggingface");
  if (s.loss == LossKind::torchtitan_chunked)
    refuse("--loss torchtitan-chunked",
           "it runs a backward for each chunk, in which " + name + " would reduce each time",
           "use another loss");
  if (s.data_parallel == DataParallelKind::data_parallel)
    throw Error(ErrorKind::bad_input, "--data-parallel", name + " takes the place of it",
                "leave it away");
  if (s.offload_activations)
    refuse("--offload-activations", "it is not modelled around the groups of " + name,
           "leave it away");
  if (s.compile)
    refuse("--compile", "torch.compile of a module that " + name + " has wrapped is not modelled",
           "leave it away");
  switch (s.optimizer) {
    case OptimizerKind::adamw:
    case OptimizerKind::adam:
    case OptimizerKind::sgd:
    case OptimizerKind::sgd_momentum:
    case OptimizerKind::none:
      break;
    default:
      refuse("--optimizer " + std::string(to_string(s.optimizer)),
             "what it keeps of a share, and allocates to step it, is not modelled",
             "use adamw, adam, sgd or sgd-momentum");
  }
  if (updates_in_backward(s))
    refuse("--optimizer-in-backward", "it is not modelled for gradients that are reduced in shards",
           "leave it away");
  if (s.fsdp.wrap == Fsdp::Wrap::size)
    refuse("--wrap-policy size", "units by their number of parameters are not modelled",
           "use layers");
  const auto at = [](Placement p) { return p == Placement::cpu; };
  const Offload& o = s.offload;
  const bool all = at(o.optimizer) && at(o.gradients) && at(o.parameters);
  const bool none = o.optimizer == Placement::gpu && o.gradients == Placement::gpu &&
                    o.parameters == Placement::gpu;
  if (!all && !none)
    refuse("--offload",
           "CPU offload of " + name +
               " moves parameters, gradients and optimizer to the host together",
           "use --offload optimizer=cpu,gradients=cpu,parameters=cpu");
  if (s.fsdp.replicas < 1 || s.dp % s.fsdp.replicas != 0)
    throw Error(ErrorKind::bad_input, "--dp-replicate",
                std::to_string(s.fsdp.replicas) + " is no factor of dp " + std::to_string(s.dp),
                "use such a factor, or leave it away");
}

}  // namespace memplan::fsdp
