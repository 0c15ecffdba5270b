#include "ops/embedding.h"

#include <utility>

#include "ops/linear.h"
#include "ops/peft.h"

namespace memplan {

TensorId embedding(Graph& g, const Embedding& spec) {
  const bool cut = spec.vocabulary && g.context.tp > 1;
  Graph probe(g.context);  // asks whether a tied table is trained, and is dropped
  bool trained = (spec.tied ? probe : g)
                     .param(make_param(spec.name + ".weight", {spec.rows, spec.width},
                                       cut ? Cut::dim0 : Cut::replicated, cut ? g.context.tp : 1));
  trained |= adapt(
      g, {.name = spec.name, .form = ModuleForm::embedding, .in = spec.rows, .out = spec.width});
  const TensorId rows =
      g.add({.kind = "embedding", .name = "embedding"}, "embedding output",
            checked_mul(g.stream_tokens(), spec.width), g.context.activation, trained);
  if (!cut) return rows;
  // Each rank looks up its own rows; the sum over the group is the embedding.
  const Bytes whole(product({g.tokens(), spec.width, size_of(g.context.activation)}));
  const bool scattered = g.context.sequence_parallel;
  g.comm(scattered ? Collective::reduce_scatter : Collective::all_reduce,
         CommGroup::tensor_parallel, false, whole, false);
  if (scattered && trained) g.comm(Collective::all_gather, CommGroup::tensor_parallel, true, whole);
  return rows;
}

TensorId vocabulary_head(Graph& g, TensorId x, const Head& spec) {
  const TensorId in = enter_tensor_parallel(g, x);
  const int64_t tokens = g.elements(in) / spec.width;
  const int64_t columns = ceil_div(spec.vocab, g.context.tp);
  const double flops = 2.0 * static_cast<double>(tokens) * static_cast<double>(columns) *
                       static_cast<double>(spec.width);
  // Rows that fill the last rank's part up are no part of the model.
  const double share =
      static_cast<double>(spec.vocab) / static_cast<double>(checked_mul(columns, g.context.tp));
  bool trained = spec.tied && g.context.training && g.context.tied_weight_trains;
  if (!spec.tied || spec.tied_copy) {
    Param weight =
        make_param(spec.name + ".weight", {spec.vocab, spec.width}, Cut::dim0, g.context.tp);
    weight.tied_copy = spec.tied_copy;
    const bool own = g.param(std::move(weight));
    if (spec.tied_copy)
      g.params.back().trainable = trained;
    else
      trained = own;
  }
  if (spec.tied && !spec.tied_copy && g.context.training &&
      saved_whole(*g.context.peft, g.context.prefix + spec.name + ".weight")) {
    // peft's copy of a tied head is a weight of its own; the shared one stays the embedding's.
    Param copy = make_param(spec.name + ".modules_to_save.default.weight", {spec.vocab, spec.width},
                            Cut::dim0, g.context.tp);
    copy.adapter = true;
    trained = g.param(std::move(copy));
  }
  const bool adapted = adapt(g, {.name = spec.name,
                                 .form = ModuleForm::head,
                                 .in = spec.width,
                                 .out = spec.vocab,
                                 .bias = spec.bias,
                                 .role = "head"});
  bool bias_trained = adapted;
  if (spec.bias) {
    const std::string name = spec.bias_name.empty() ? spec.name + ".bias" : spec.bias_name;
    bias_trained |= g.param(make_param(name, {spec.vocab}, Cut::dim0, g.context.tp));
  }
  const TensorId logits =
      g.add({.kind = "linear",
             .name = "vocabulary head",
             .flops = flops,
             .flops_backward = flops * ((g.grad(in) ? 1 : 0) + (trained ? 1 : 0)),
             .share = share},
            "logits", checked_mul(tokens, columns), g.context.activation,
            g.grad(in) || trained || bias_trained);
  if (trained) g.save(in);
  return logits;
}

void cross_entropy(Graph& g, TensorId logits, int64_t vocab) {
  const int64_t columns = ceil_div(vocab, g.context.tp);
  const int64_t tokens = g.elements(logits) / columns;
  const bool grad = g.grad(logits);
  g.add({.kind = "cross_entropy", .name = "loss"}, "loss", 1, DType::f32, grad);
  if (grad) g.save_extra("fp32 logits", g.elements(logits), DType::f32);
  if (g.context.tp == 1) return;
  const Bytes row(checked_mul(tokens, size_of(DType::f32)));
  // Largest logit, sum of exponentials, logit of the target (Megatron-LM, cross_entropy.py).
  for (int i = 0; i < 3; ++i)
    g.comm(Collective::all_reduce, CommGroup::tensor_parallel, false, row, false);
}

}  // namespace memplan
