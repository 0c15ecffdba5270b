// recipes/full_finetune_single_device.py and lora_finetune_single_device.py: _loss_step, train.
#include "lower/huggingface/losses.h"
#include "lower/torchtune/torchtune.h"

namespace memplan::torchtune {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

// In the order of Forward::loop. The first two exist anew in each micro-batch's forward,
// current_loss is the one of before until then, and running_loss starts anew in each step.
enum LoopVariable : size_t { kCurrentTokens, kTokens, kCurrentLoss, kRunningLoss };

void enter_loop(hf::Forward& f) {
  Tensor current;
  {
    const Tensor counted = make(f.session, "aten.ne.Scalar", f.labels.sizes(), DType::boolean);
    current = sum(counted);
  }
  f.loop = {current, add_scalar(current), allocate(f.session, {}, DType::f32), {}};
  if (f.job.strategy.micro_batches() > 1)
    f.loop[kRunningLoss] = allocate(f.session, {}, DType::f32);
}

Tensor loss(hf::Forward& f, const hf::Params& head, const hf::Params& embedding, Tensor hidden,
            Tensor&) {
  const Strategy& s = f.job.strategy;
  const hf::Head project = [&](const Tensor& x) {
    if (f.model.tie_embeddings)
      return aten::linear(x, embedding.get(f.row.embedding, "weight"), {});
    return torchtune::linear(f, head, f.row.head, x);
  };
  Tensor out;
  if (s.loss == LossKind::torchtune_chunked) {
    const std::vector<Tensor> chunks =
        hf::torchtune_chunked_output(std::move(hidden), project, s.loss_chunks);
    out = hf::torchtune_chunked_loss(chunks, hf::torchtune_shifted_labels(f.labels), s.compile);
  } else {
    Tensor logits;
    {
      const Tensor narrow = project(hidden);
      logits = to(narrow, DType::f32);
    }
    hidden.reset();
    const Tensor labels = hf::torchtune_shifted_labels(f.labels);
    const int64_t tokens = labels.elements();
    const Tensor rows = view(logits, {tokens, logits.size(-1)});
    const Tensor targets = view(labels, {tokens});
    out = s.compile ? compiled_cross_entropy(rows, targets) : cross_entropy(rows, targets);
  }
  out = mul(out, f.loop[kCurrentTokens]);
  f.loop[kCurrentLoss] = out;
  Tensor& running = f.loop[kRunningLoss];
  running = running ? add_in_place(running, out) : add_scalar(out);
  return out;
}

}  // namespace memplan::torchtune
