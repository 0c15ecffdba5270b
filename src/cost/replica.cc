#include "cost/replica.h"

#include <utility>

namespace memplan {

using aten::Shape;
using aten::Tensor;

ReplicaStep::ReplicaStep(aten::Session& session, Replica role, int64_t gpus,
                         std::vector<FlatTensor> params, int64_t frozen)
    : session_(session), role_(role), gpus_(gpus), params_(std::move(params)), frozen_(frozen) {}

void ReplicaStep::pass(std::string_view op, int64_t bytes) {
  session_.ledger.add(bytes);
  session_.ledger.note(op);
}

void ReplicaStep::broadcast() {
  if (role_ != Replica::first) return;
  for (const FlatChunk& chunk : flat_chunks(params_)) {
    if (!chunk.copied) continue;
    pass("aten.cat.default", chunk.bytes);
    session_.ledger.free(chunk.bytes);
  }
}

void ReplicaStep::gather(std::vector<Tensor*> outputs) {
  std::vector<Tensor> gathered;
  for (const Tensor* x : outputs) {
    if (role_ != Replica::first || !*x) {
      gathered.emplace_back();
      continue;
    }
    Shape sizes = x->dims() == 0 ? Shape{1} : x->sizes();
    sizes[0] = checked_mul(sizes[0], gpus_);
    gathered.push_back(aten::allocate(session_, sizes, x->dtype()));
    session_.ledger.note("aten.empty.memory_format");
  }
  for (size_t i = 0; i < outputs.size(); ++i) *outputs[i] = std::move(gathered[i]);
}

// Broadcast is an autograd.Function: gradients of what is frozen are given to it as zeros
// (set_materialize_grads), and added up like the others.
void ReplicaStep::reduce() {
  aten::Ledger& ledger = session_.ledger;
  pass("aten.zeros.default", frozen_);
  int64_t flat = 0, results = 0;  // `flat_tensors` holds a chunk until the next is made
  for (const FlatChunk& chunk : flat_chunks(params_)) {
    const int64_t copied = chunk.copied ? chunk.bytes : 0;
    if (copied > 0) pass("aten.cat.default", copied);
    ledger.free(std::exchange(flat, copied));
    if (role_ != Replica::first) continue;
    pass("aten.empty_like.default", chunk.bytes);
    results = checked_add(results, chunk.bytes);
  }
  ledger.free(flat + frozen_);
  // Each is now its parameter's gradient, or added to it, in place of the replica's own.
  ledger.free(results);
}

}  // namespace memplan
