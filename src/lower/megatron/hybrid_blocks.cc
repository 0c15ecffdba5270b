#include "lower/megatron/hybrid_blocks.h"

#include <string>

#include "lower/attention_block.h"
#include "lower/layer.h"
#include "lower/mlp_block.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace memplan::megatron {
namespace {

LayerKind kind_of(char letter) {
  switch (letter) {
    case 'M':
      return {.form = LayerForm::ssm};
    case '*':
      return {.form = LayerForm::attention};
    case 'E':
      return {.form = LayerForm::mlp, .moe = true};
    default:
      return {.form = LayerForm::mlp};
  }
}

// Multiply-adds of a token in one layer: C·Bᵀ within a chunk for each group, its product with x,
// and the states in and out, for each head (arXiv 2405.21060, section 6).
double scan_flops(const SsmSpec& ssm) {
  const auto real = [](int64_t n) { return static_cast<double>(n); };
  const double chunk = real(kMixerChunk);
  return 2 * (chunk * real(ssm.groups) * real(ssm.state) +
              real(ssm.heads) * real(ssm.head_dim) * (chunk + 2 * real(ssm.state)));
}

// Convolution, scan and gate: all that is between the projections. Keeps their input and what the
// scan gives before its gate.
TensorId scan(Graph& g, const SsmSpec& ssm, TensorId projected) {
  const int64_t tp = g.context.tp;
  const auto cut = [&](std::string_view name, std::initializer_list<int64_t> shape) {
    g.param(make_param(std::string(name), shape, Cut::dim0, tp));
  };
  cut(std::string(kMixerConvolution) + ".weight", {ssm.channels(), 1, kMixerTaps});
  cut(std::string(kMixerConvolution) + ".bias", {ssm.channels()});
  for (std::string_view name : {kMixerStep, kMixerDecay, kMixerSkip}) cut(name, {ssm.heads});
  const int64_t out = checked_mul(g.tokens(), ssm.width() / tp);
  const double flops = static_cast<double>(g.tokens()) *
                       (scan_flops(ssm) + 2.0 * static_cast<double>(ssm.channels() * kMixerTaps)) /
                       static_cast<double>(tp);
  const TensorId y = g.add(
      {.kind = "scan", .name = "state-space scan", .flops = flops, .flops_backward = 2 * flops},
      "scan output", out, g.context.activation, true);
  g.save(projected);
  g.save_extra("scan output before its gate", out, g.context.activation);
  return y;
}

TensorId mixer(Graph& g, const ModelSpec& model, TensorId x) {
  const SsmSpec& ssm = model.ssm;
  x = enter_tensor_parallel(g, x);
  x = linear(g, x,
             {.name = std::string(kMixerIn),
              .in = model.hidden,
              .out = ssm.projected(),
              .cut = Cut::dim0,
              .output = "z, x, B, C and dt"});
  x = scan(g, ssm, x);
  x = norm(g, x, {.name = std::string(kMixerGatedNorm), .width = ssm.width(), .cut = Cut::dim0});
  x = linear(g, x,
             {.name = std::string(kMixerOut),
              .in = ssm.width(),
              .out = model.hidden,
              .cut = Cut::dim1,
              .output = "mixer output"});
  return leave_tensor_parallel(g, x);
}

}  // namespace

std::vector<Stack> hybrid_stacks(const ModelSpec& model) {
  Stack out{"decoder.layers", {}};
  for (char letter : model.hybrid_pattern) out.layers.push_back(kind_of(letter));
  return {out};
}

void hybrid_layer(Graph& g, const FamilyRow& row, const ModelSpec& model, const LayerKind& kind) {
  const TensorId x = layer_input(g, model);
  const Sublayer attention = attention_sublayer(row), feed_forward = mlp_sublayer(row);
  const Sublayer mixing = {.before = kMixerNorm, .adapters = false};
  switch (kind.form) {
    case LayerForm::ssm: {
      const TensorId n = open_sublayer(g, row, model, mixing, x);
      close_sublayer(g, row, model, mixing, x, mixer(g, model, n));
      return;
    }
    case LayerForm::attention: {
      const TensorId n = open_sublayer(g, row, model, attention, x);
      close_sublayer(g, row, model, attention, x, attention_block(g, row, model, n));
      return;
    }
    default: {
      const TensorId n = open_sublayer(g, row, model, feed_forward, x);
      const TensorId y =
          kind.moe ? moe_block(g, row, model, n) : mlp_block(g, row.mlp, model, model.ffn, n);
      close_sublayer(g, row, model, feed_forward, x, y);
    }
  }
}

}  // namespace memplan::megatron
