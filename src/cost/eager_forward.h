// The forward of a whole model: its blocks in turn, with the checkpoints and hooks around them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "cost/sharded_step.h"
#include "lower/huggingface/module.h"
#include "memplan/job.h"
#include "memplan/units.h"

namespace memplan {

class WalkedModel;

/// All references outlive it. `sharded`: FSDP's units, or null.
class EagerForward {
 public:
  EagerForward(aten::Session& session, const Job& job, const hf::Family& family, WalkedModel& model,
               ShardedStep* sharded)
      : session_(session),
        job_(job),
        s_(job.strategy),
        family_(family),
        model_(model),
        sharded_(sharded) {}

  /// Makes the batch, whose bytes `inputs` says. `states`: optimizer states and gradients, which a
  /// first step does not hold yet.
  hf::Forward start(Bytes states, Bytes& inputs);

  void run(hf::Forward& f, aten::Tensor& loss, aten::Tensor& logits);

  /// The embeddings that were made to require a gradient.
  void release() { inputs_embeds_.reset(); }

 private:
  void add_virtual_tokens(hf::Forward& f);
  aten::Tensor module(hf::Forward& f, size_t at, const aten::Tensor& hidden);
  aten::Tensor sharded(hf::Forward& f, size_t at, aten::Tensor hidden,
                       const ShardedStep::Module& forward);
  aten::Tensor run_layer(hf::Forward& f, size_t at, const aten::Tensor& hidden);
  aten::Tensor layer(hf::Forward& f, size_t at, const aten::Tensor& hidden);
  std::optional<aten::Checkpointing> checkpointing(const hf::Forward& f) const;
  aten::Tensor checkpointed(hf::Forward& f, size_t at, const aten::Tensor& hidden);

  aten::Session& session_;
  const Job& job_;
  const Strategy& s_;
  const hf::Family& family_;
  WalkedModel& model_;
  ShardedStep* sharded_;
  aten::Tensor padding_;        ///< the batch's own, where PeftModel makes a longer one
  aten::Tensor inputs_embeds_;  ///< the leaf itself, which the tape holds
};

}  // namespace memplan
