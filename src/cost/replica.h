// What torch.nn.DataParallel adds to a step on one GPU (torch/nn/parallel, 2.14).
#pragma once

#include <vector>

#include "cost/eager.h"
#include "ops/aten/session.h"
#include "policy/data_parallel.h"

namespace memplan {

/// One GPU's share. Parameters are handed out before each forward; what the replicas return is
/// gathered on GPU 0; their gradients wait, all of them, for the node that adds them up there.
class ReplicaStep {
 public:
  /// `params`: of the whole model, in its order; `frozen`: bytes of those that are not trained.
  ReplicaStep(aten::Session& session, Replica role, int64_t gpus, std::vector<FlatTensor> params,
              int64_t frozen);

  /// replicate(): broadcast_coalesced in chunks, copied on GPU 0 and viewed on the others.
  void broadcast();
  /// gather(): a tensor of all replicas' on GPU 0; nothing is left of one's own.
  void gather(std::vector<aten::Tensor*> outputs);
  /// Broadcast's backward, once every gradient is there: reduce_add_coalesced.
  void reduce();

 private:
  void pass(std::string_view op, int64_t bytes);

  aten::Session& session_;
  Replica role_;
  int64_t gpus_;
  std::vector<FlatTensor> params_;
  int64_t frozen_;
};

}  // namespace memplan
