#include "cost/sharded_step.h"

#include "cost/flat_parameter_step.h"
#include "cost/fully_shard_step.h"

namespace memplan {

std::unique_ptr<ShardedStep> make_sharded_step(aten::Session& session, const Job& job) {
  if (fsdp::flattens(job.strategy)) return std::make_unique<FlatParameterStep>(session, job);
  return std::make_unique<FullyShardStep>(session, job);
}

}  // namespace memplan
