// Which loss a model is trained with.
#include <algorithm>
#include <string>

#include "lower/huggingface/liger.h"
#include "lower/huggingface/losses.h"
#include "lower/huggingface/unsloth.h"
#include "memplan/error.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

void require_program_loss(const Forward& f, const Family& family) {
  const Strategy& s = f.job.strategy;
  const std::string option = "--loss " + std::string(to_string(s.loss));
  const auto refuse = [&](const std::string& problem) {
    throw Error(ErrorKind::not_modelled, option, problem, "use --loss cross-entropy");
  };
  if (f.model.head == ModelHead::sequence_classification)
    refuse("is a loss of language models, not of classifiers");
  if (family.loss != causal_lm_loss)
    refuse("family '" + f.model.family + "' does more to its logits than project them");
  if (has_chunks(s.loss) && s.loss_chunks > f.sequence)
    refuse(std::to_string(s.loss_chunks) + " chunks of a sequence of " +
           std::to_string(f.sequence) + " tokens");
  if (s.loss != LossKind::torchtitan_chunked) return;
  if (f.sequence % s.loss_chunks != 0)
    refuse("torchtitan's chunks must divide the sequence of " + std::to_string(f.sequence) +
           " tokens");
  if (s.precision.autocast) refuse("torchtitan 0.3 runs nothing under autocast");
  if (s.dp > 1) refuse("the backward within the forward is not modelled under DDP");
}

// The last label of each sample has nothing to follow it: [b, s - 1] of the last dimension but one.
Tensor all_but_last(const Tensor& logits) { return slice(logits, 1, 0, logits.size(1) - 1); }

}  // namespace

Tensor model_loss(Forward& f, const Family& family, const Params& head_params,
                  const Params& embedding, Tensor hidden, Tensor& logits) {
  const Strategy& s = f.job.strategy;
  if (family.program_loss) {
    if (s.loss != LossKind::cross_entropy &&
        std::ranges::find(family.program_losses, s.loss) == family.program_losses.end())
      throw Error(ErrorKind::bad_input, "--loss " + std::string(to_string(s.loss)),
                  std::string(family.name) + " computes its loss itself", "leave --loss away");
    return family.program_loss(f, head_params, embedding, std::move(hidden), logits);
  }
  if (s.loss == LossKind::cross_entropy)
    return family.loss(f, head_params, embedding, hidden, logits);
  if (s.loss == LossKind::liger && f.model.head == ModelHead::causal_lm)
    return liger_loss(f, head_weight(f, head_params, embedding), hidden);
  if (s.loss == LossKind::unsloth)
    return unsloth_loss(f, head_weight(f, head_params, embedding), hidden);
  require_program_loss(f, family);
  f.outputs.clear();  // these programs' models return no more than their logits
  const Head head = [&](const Tensor& x) { return lm_logits(f, head_params, embedding, x); };
  const auto token_count = [&] { return make(f.session, "aten.full.default", {}, DType::i64); };
  switch (s.loss) {
    case LossKind::torchtune_chunked: {
      const Tensor ignored = make(f.session, "aten.full.default", {f.batch, 1}, DType::i64);
      const std::vector<Tensor> chunks =
          torchtune_chunked_output(std::move(hidden), head, s.loss_chunks);
      return torchtune_chunked_loss(chunks, torchtune_shifted_labels(f.ids));
    }
    case LossKind::torchtune_linear:
      return torchtune_linear_loss(hidden, f.ids, head, s.loss_chunks);
    case LossKind::torchtitan: {
      const Tensor tokens = token_count();
      const Tensor pred = head(hidden);
      hidden.reset();
      return torchtitan_loss(pred, f.ids, tokens);
    }
    case LossKind::torchtitan_chunked: {
      const Tensor tokens = token_count();
      return torchtitan_chunked_loss(hidden, f.ids, tokens, head, s.loss_chunks);
    }
    case LossKind::litgpt_full: {
      {
        const Tensor narrow = head(hidden);
        hidden.reset();
        logits = fabric_output({narrow}).front();
      }
      return litgpt_chunked_loss(all_but_last(logits), slice(f.ids, 1, 1, f.sequence - 1));
    }
    case LossKind::litgpt_chunked: {
      std::vector<Tensor> chunks = fabric_output(litgpt_chunked_output(std::move(hidden), head));
      chunks.back() = all_but_last(chunks.back());
      const Tensor loss = litgpt_chunked_loss(chunks, slice(f.ids, 1, 1, f.sequence - 1));
      f.outputs = std::move(chunks);
      return loss;
    }
    default:
      break;
  }
  throw Error(ErrorKind::not_modelled, "--loss " + std::string(to_string(s.loss)),
              "this loss is not modelled yet", "use --loss cross-entropy");
}

}  // namespace memplan::hf
