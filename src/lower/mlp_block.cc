#include "lower/mlp_block.h"

#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/moe.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

// act(gate)·up, or act(up).
TensorId inner(Graph& g, const MlpRow& row, const ModelSpec& model, int64_t ffn, TensorId x) {
  const auto column = [&](std::string_view name, int64_t out, std::string_view output) {
    return linear(g, x,
                  {.name = std::string(name),
                   .in = model.hidden,
                   .out = out,
                   .bias = has_bias(row.bias, model.mlp_bias),
                   .cut = Cut::dim0,
                   .transposed = row.transposed,
                   .role = "mlp",
                   .output = output});
  };
  if (!row.gate_up.empty()) {
    const TensorId both = column(row.gate_up, checked_mul(2, ffn), "gate and up");
    const int64_t half = checked_mul(g.tokens(), ceil_div(ffn, g.context.tp));
    const TensorId gate = slice(g, both, "gate", half);
    const TensorId up = slice(g, both, "up", half);
    return multiply(g, activation(g, gate, model.activation), up, "gated product");
  }
  if (row.gate.empty()) return activation(g, column(row.up, ffn, "up"), model.activation);
  const TensorId gate = column(row.gate, ffn, "gate");
  const TensorId up = column(row.up, ffn, "up");
  return multiply(g, activation(g, gate, model.activation), up, "gated product");
}

}  // namespace

TensorId mlp_block(Graph& g, const MlpRow& row, const ModelSpec& model, int64_t ffn, TensorId x) {
  TensorId y = inner(g, row, model, ffn, enter_tensor_parallel(g, x));
  y = dropout(g, y, model.dropout.activation);
  y = linear(g, y,
             {.name = std::string(row.down),
              .in = ffn,
              .out = model.hidden,
              .bias = has_bias(row.bias, model.mlp_bias),
              .cut = Cut::dim1,
              .transposed = row.transposed,
              .role = "mlp",
              .output = "MLP output"});
  return leave_tensor_parallel(g, y);
}

TensorId moe_block(Graph& g, const FamilyRow& row, const ModelSpec& model, TensorId x) {
  const MoeSpec& moe = model.moe;
  const TensorId routed = experts(g, x,
                                  {.router = std::string(row.moe.router),
                                   .router_bias = row.moe.bias,
                                   .experts = std::string(row.moe.experts),
                                   .gate_up = std::string(row.moe.gate_up),
                                   .down = std::string(row.moe.down),
                                   .width = model.hidden,
                                   .ffn = moe.expert_ffn,
                                   .count = moe.experts,
                                   .per_token = moe.experts_per_token,
                                   .gated = row.moe.gated,
                                   .bias = row.moe.bias || row.moe.expert_bias,
                                   .transposed = row.moe.transposed,
                                   .activation = model.activation});
  if (row.moe.shared.empty() || moe.shared_experts_ffn == 0) return routed;

  const std::string prefix = std::string(row.moe.shared) + ".";
  const MlpRow& names = row.moe.shared_mlp;
  const auto named = [&](std::string_view name) {
    return name.empty() ? std::string() : prefix + std::string(name);
  };
  const std::string gate = named(names.gate), up = named(names.up), down = named(names.down),
                    gate_up = named(names.gate_up);
  TensorId shared =
      mlp_block(g, {.gate = gate, .up = up, .down = down, .gate_up = gate_up, .bias = row.mlp.bias},
                model, moe.shared_experts_ffn, x);
  if (!row.moe.shared_gate.empty()) {
    const TensorId logit =
        linear(g, x, {.name = std::string(row.moe.shared_gate), .in = model.hidden, .out = 1});
    shared = multiply(g, shared, activation(g, logit, "sigmoid"), "gated shared expert");
  }
  return add(g, routed, shared, "experts' sum");
}

}  // namespace memplan
