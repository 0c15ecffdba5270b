#include "ops/relative.h"

#include "ops/linear.h"

namespace memplan {
namespace {

// One index of the framework's integer type for each pair of tokens of a sample.
int64_t pairs(const Graph& g) { return checked_mul(g.context.sequence, g.context.full_sequence); }

}  // namespace

void relative_bias(Graph& g, const RelativeBias& spec) {
  const bool trained = g.param(
      make_param(spec.name + ".weight", {spec.buckets, spec.heads}, Cut::dim1, g.context.tp));
  g.add({.kind = "embedding", .name = "relative bias"}, "relative bias",
        checked_mul(pairs(g), ceil_div(spec.heads, g.context.tp)), g.context.activation, trained);
  if (trained) g.save_extra("relative buckets", pairs(g), DType::i64);
}

TensorId relative_scores(Graph& g, TensorId content, TensorId positions,
                         const RelativeScores& spec) {
  const DType dtype = g.context.activation;
  const bool grad = g.grad(content) || g.grad(positions);
  const int64_t table = product({g.context.batch, spec.rows, spec.heads, spec.head_dim});
  const TensorId repeated = g.add({.kind = "repeat", .name = "distances"}, "repeated distances",
                                  table, dtype, g.grad(positions));
  const int64_t scores = product({g.tokens(), spec.heads, spec.rows});
  const double flops = 2.0 * static_cast<double>(scores) * static_cast<double>(spec.head_dim);
  g.add({.kind = "relative_scores",
         .name = "relative scores",
         .flops = flops,
         .flops_backward = 2 * flops,
         .recomputable = true},
        "scores of distances", scores, dtype, grad);
  if (g.grad(repeated)) g.save(content);
  if (g.grad(content)) g.save(repeated);
  const TensorId picked =
      g.add({.kind = "gather", .name = "relative scores", .recomputable = true}, "relative scores",
            product({g.tokens(), spec.heads, g.context.full_sequence}), dtype, grad);
  if (grad) g.save_extra("relative index", pairs(g), DType::i64);
  return picked;
}

}  // namespace memplan
