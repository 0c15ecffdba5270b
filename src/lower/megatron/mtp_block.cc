#include "lower/megatron/mtp_block.h"

#include <string>

#include "lower/family_row.h"
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/linear.h"
#include "ops/mcore/mappings.h"
#include "ops/mcore/pointwise.h"
#include "ops/pointwise.h"

namespace memplan::megatron {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

LayerKind kind_of(const ModelSpec& model) { return stacks(model).back().layers.back(); }

// torch.roll, whose last column is filled with zeros; the sum of what is left is small.
Tensor rolled(const Tensor& x) {
  return make(x.session(), "aten.roll.default", x.sizes(), x.dtype());
}

Tensor joined(Walk& w, const Params& p, const Tensor& stream, const Tensor& embedded) {
  Tensor both;
  {
    const Tensor parts[] = {mcore::norm(embedded, p.norm(kMtpEmbeddingNorm)),
                            mcore::norm(stream, p.norm(kMtpHiddenNorm))};
    both = cat(parts);
  }
  Tensor x = mcore::column_linear(both, p.get(kMtpProjection), {}, w.group);
  both.reset();
  x = mcore::gather_columns(x, w.group);
  return mcore::own_rows(x, w.group);
}

Tensor one_layer(Walk& w, const Params& p, const Tensor& stream, const Tensor& embedded) {
  const auto run = [&w, &p, stream, embedded] {
    const Tensor x = layer(w, p, kind_of(w.model()), joined(w, p, stream, embedded));
    return mcore::norm(x, p.norm(kMtpFinalNorm));
  };
  return w.strategy().recompute == Recompute::full ? checkpoint(w.session, stream, run) : run();
}

}  // namespace

void build_mtp_layer(const ModelSpec& model, Graph& g) {
  const FamilyRow row = family_row(model);
  const TensorId x =
      g.input("stream", checked_mul(g.stream_tokens(), model.hidden), g.context.activation);
  const bool bias = row.norm == NormKind::layer;
  norm(g, x, {.name = std::string(kMtpEmbeddingNorm), .width = model.hidden, .bias = bias});
  norm(g, x, {.name = std::string(kMtpHiddenNorm), .width = model.hidden, .bias = bias});
  const TensorId both =
      g.input("embedding and stream", checked_mul(2, g.elements(x)), g.context.activation);
  linear(g, enter_tensor_parallel(g, both),
         {.name = std::string(kMtpProjection),
          .in = checked_mul(2, model.hidden),
          .out = model.hidden,
          .cut = Cut::dim0});
  build_layer(model, kind_of(model), g);
  norm(g, x, {.name = std::string(kMtpFinalNorm), .width = model.hidden, .bias = bias});
}

void build_mtp_embedding(const ModelSpec& model, Graph& g) {
  build_embedding(model, g);
  for (Param& p : g.params) p.tied_copy = true;
}

Tensor predict_more(Walk& w, std::span<const Params* const> layers, const Params& embedding,
                    const Tensor& output, Tensor stream) {
  const Shape sizes = stream.sizes();
  Tensor all;
  {
    std::vector<Tensor> streams{stream};
    Tensor tokens = w.tokens;
    for (const Params* p : layers) {
      tokens = rolled(tokens);
      const Tensor embedded = embed(w, embedding, tokens);
      streams.push_back(one_layer(w, *p, streams.back(), embedded));
    }
    stream.reset();
    all = cat(streams, 0);
  }
  const std::vector<int64_t> rows(layers.size() + 1, sizes[0]);
  std::vector<Tensor> parts = split(all, rows, 0);
  all.reset();
  Tensor labels = w.labels, mask = w.loss_mask;
  Tensor out = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    labels = rolled(labels);
    mask = rolled(mask);
    // A function of its own drops them since 0.17 (process_mtp_loss).
    const bool holds = w.strategy().megatron.core < Version{0, 17, 0};
    Tensor loss = token_losses(w, output, {}, parts[i], labels, holds ? &w.held_logits : nullptr);
    loss = mul(loss, mask);
    loss = mul_scalar(loss);
    out = mcore::with_loss(out, loss);
  }
  return out;
}

}  // namespace memplan::megatron
