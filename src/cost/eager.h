// One training step of PyTorch's eager engine, to the byte.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "memplan/job.h"
#include "memplan/plan.h"
#include "memplan/units.h"
#include "ops/aten/tensor.h"

namespace memplan {

/// The highest moment of a phase: all live tensors, and the operator that reached it as PyTorch
/// names it ("aten.mm.default"), or "start".
struct EagerPeak {
  Bytes bytes;
  Bytes gradients, kept;  ///< of them: parameters' gradients, and what autograd keeps
  /// Of them, FSDP2's: whole parameters, what gathers them, what waits for the gradients'
  /// reduction.
  Bytes unsharded, gathering, reducing;
  std::string at;
};

/// Live tensors of one rank in a step whose optimizer states exist, last micro-batch: sizes as
/// requested, before the allocator rounds them.
struct EagerStep {
  int64_t parameters = 0, trainable = 0;  ///< elements of the whole model
  Bytes weights, gradients, optimizer, buffers, inputs;
  Bytes registered;   ///< of model.parameters() at the end of forward: FSDP2 may hold them whole
  Bytes buckets;      ///< DDP's
  HostMemory host;    ///< FSDP2's CPU offload
  Bytes activations;  ///< at the end of forward: all that is none of the above
  int64_t worst_rank = 0;  ///< under ZeRO 1 and 2: keeps the most gradients for its step
  /// Between two steps: weights, states, buffers and buckets. Of them, what exists only from the
  /// first optimizer step on.
  Bytes resident, made_by_step;
  Bytes left;      ///< gradients that zero_grad does not reach, until the next forward
  Bytes spent;     ///< the largest gradient that an update in backward spends
  Bytes certain;   ///< the highest moment that torch.compile cannot avoid
  Bytes operands;  ///< of them, what torch.compile cannot avoid to keep: what kernels of their own
                   ///< read in backward, and all that is kept outside of what it compiles
  EagerPeak forward, backward, step;
  std::vector<aten::KeptTensors> kept;  ///< by autograd at the end of forward
};

/// What `eager_step` counts in.
enum class Grain : uint8_t {
  requested,  ///< bytes as asked for, of the tensors that a TorchDispatchMode sees: traces
  blocks,     ///< rounded up to 512 bytes each, as the CUDA caching allocator hands them out
};

/// Whether equal layers are walked once for all or each by itself: both give the same answer.
enum class Layers : uint8_t { folded, unrolled };

/// Which GPU of torch.nn.DataParallel, or one that runs by itself.
enum class Replica : uint8_t { alone, first, other };

/// Frameworks `pytorch` and `huggingface`. Throws Error{bad_input, not_modelled, too_large}.
EagerStep eager_step(const Job& job, Grain grain = Grain::requested, Layers layers = Layers::folded,
                     Replica replica = Replica::alone);

/// The highest moment of a forward in eval() mode under no_grad between two steps, on a micro-batch
/// like those of training. Throws as eager_step does, and Error{not_modelled} where other code runs
/// then than in training.
EagerPeak eager_evaluation(const Job& job, Grain grain = Grain::requested);

}  // namespace memplan
