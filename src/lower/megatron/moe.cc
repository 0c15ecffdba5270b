// MoELayer with its router, token dispatchers and experts (core/transformer/moe/{moe_layer,router,
// token_dispatcher,experts}.py, 0.18). The experts of a rank share its rows evenly; the rank is the
// busiest of its group, by Strategy::expert_imbalance.
#include <algorithm>
#include <cmath>

#include "lower/megatron/walk.h"
#include "memplan/error.h"
#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/mcore/pointwise.h"
#include "ops/mcore/routing.h"

namespace memplan::megatron {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

using Dispatcher = MegatronSpec::Dispatcher;

// Copies of tokens that an expert takes from a rank that has `all` of them (moe_utils.py,
// get_capacity).
int64_t capacity(const Walk& w, int64_t all) {
  const double each = static_cast<double>(all) / static_cast<double>(w.model().moe.experts);
  return static_cast<int64_t>(std::ceil(each * w.strategy().megatron.capacity_factor));
}

// Rows that a rank sends: a copy of each token for each of its experts, or what their capacity lets
// through.
int64_t copies_of(const Walk& w, int64_t tokens) {
  const MoeSpec& moe = w.model().moe;
  const MegatronSpec& m = w.strategy().megatron;
  const int64_t all = checked_mul(tokens, moe.experts_per_token);
  if (m.capacity_factor <= 0) return all;
  const int64_t most = checked_mul(capacity(w, all), moe.experts);
  return m.pad_to_capacity ? most : std::min(most, all);
}

// Rows that reach a rank which sends `sent`: no more than its experts' capacity lets through of
// what all ranks send.
int64_t rows_received(const Walk& w, int64_t tokens, int64_t sent) {
  const Strategy& s = w.strategy();
  const MegatronSpec& m = s.megatron;
  if (m.capacity_factor <= 0) return busiest_rows(s.expert_imbalance, sent);
  if (m.pad_to_capacity) return sent;
  const int64_t all = checked_mul(tokens, w.model().moe.experts_per_token);
  return std::min(busiest_rows(s.expert_imbalance, sent), capacity(w, all) * w.model().moe.experts);
}

// act(fc1)·probability, operator by operator (experts.py, bias_act_func; mlp.py).
Tensor weighted_activation(const Walk& w, const Tensor& x, const Tensor& bias,
                           const Tensor& probabilities) {
  const ModelSpec& model = w.model();
  if (w.strategy().megatron.bias_activation_fusion && model.gated_mlp && model.activation == "silu")
    return mcore::weighted_swiglu(x, probabilities);
  Tensor y;
  if (model.activation == "relu2" && !model.gated_mlp)
    y = mcore::bias_activation(x, bias, false);
  else
    y = mcore::plain_activation(x, bias, model.gated_mlp, model.activation);
  y = mul(y, probabilities);
  return to(y, x.dtype());
}

// Every expert after the other, or all in grouped matrix products.
Tensor run_experts(const Walk& w, const Params& p, const Tensor& rows,
                   const Tensor& probabilities) {
  const MoeRow& names = w.row.moe;
  const std::string prefix = std::string(names.experts) + ".";
  const std::vector<Tensor> up = p.all(prefix + std::string(names.gate_up));
  const std::vector<Tensor> down = p.all(prefix + std::string(names.down));
  const std::vector<Tensor> up_bias = p.all(prefix + std::string(names.gate_up) + "_bias");
  const auto count = static_cast<int64_t>(up.size());
  const auto act = [&w](const Tensor& x, const Tensor& bias, const Tensor& weights) {
    return weighted_activation(w, x, bias, weights);
  };
  if (w.strategy().megatron.grouped_gemm) {
    const Tensor x = mcore::grouped_linear(rows, up, w.group);
    const Tensor bias = up_bias.empty() ? Tensor() : up_bias.front();
    if (!recomputes(w, "moe_act"))
      return mcore::grouped_linear(act(x, bias, probabilities), down, w.group);
    mcore::DiscardedOutputs again = discarded(w);
    const auto run = [act, bias](std::span<const Tensor> in) {
      return std::vector<Tensor>{act(in[0], bias, in[1])};
    };
    const Tensor y = again.run(w.session, {x, probabilities}, run).front();
    const Tensor out = mcore::grouped_linear(y, down, w.group);
    again.discard(out);
    return out;
  }
  mcore::Group alone = w.group;
  alone.size = 1;  // the dispatcher has done the communication
  std::vector<Tensor> outputs;
  const int64_t each = rows.size(0) / count;
  std::vector<int64_t> lengths(up.size(), each);
  lengths.back() += rows.size(0) - each * count;
  const std::vector<Tensor> parts = split(rows, lengths, 0);
  const std::vector<Tensor> weights = split(probabilities, lengths, 0);
  for (size_t i = 0; i < up.size(); ++i) {
    Tensor x = mcore::column_linear(parts[i], up[i], {}, alone);
    x = act(x, up_bias.empty() ? Tensor() : up_bias[i], weights[i]);
    outputs.push_back(mcore::row_linear(x, down[i], alone));
  }
  return count == 1 ? outputs.front() : cat(outputs, 0);
}

// What MoELayer's own variables hold while later steps run (moe_layer.py, custom_forward).
struct Held {
  Tensor dispatched, received, output;
};

// Up to core 0.15 the combined copies are added up while the caller still holds what was sent home;
// later, in a step of its own (postprocess).
void leave_combine(const Walk& w, Held& held) {
  if (w.strategy().megatron.core >= Version{0, 16, 0}) held.output.reset();
}

// MoEAllGatherTokenDispatcher: all tokens of the tp·ep ranks, of which a rank keeps its experts'.
Tensor by_all_gather(Walk& w, const Params& p, const Tensor& tokens, const Routed& routed) {
  const Strategy& s = w.strategy();
  const int64_t ranks = checked_mul(expert_tp(s), s.ep);
  const Tensor all_probabilities = mcore::gather_rows(routed.probabilities, ranks);
  const Tensor all = mcore::gather_rows(tokens, ranks, w.group.buffer);
  const int64_t rows = rows_received(w, all.size(0), copies_of(w, all.size(0))) / s.ep;
  const Tensor map = mcore::row_map(w.session, all.size(0), rows, w.model().moe.experts / s.ep,
                                    s.megatron.permute_fusion);
  const Tensor own = mcore::permute(all, rows, map);
  const Tensor weights = slice(reshape(all_probabilities, {all_probabilities.elements(), 1}), 0, 0,
                               std::min(rows, all_probabilities.elements()));
  const Tensor local = clone(weights);
  const Tensor local_map = make(w.session, "aten.clone.default",
                                {all.size(0), w.model().moe.experts / s.ep}, DType::boolean);
  hold_as_attributes(w, {&map, &local, &local_map});
  Tensor out = run_experts(w, p, own, local);
  out = mcore::unpermute(out, all.size(0), map);
  return mcore::scatter_rows(out, ranks);
}

// MoEAlltoAllTokenDispatcher.
Tensor by_all_to_all(Walk& w, const Params& p, const Tensor& tokens, const Routed& routed) {
  const Strategy& s = w.strategy();
  const int64_t sent = copies_of(w, tokens.size(0));
  const int64_t received = rows_received(w, tokens.size(0), sent);
  const int64_t local = w.model().moe.experts / s.ep;
  const Tensor map = mcore::row_map(w.session, tokens.size(0), sent, w.model().moe.experts,
                                    s.megatron.permute_fusion);
  const Tensor& probabilities = routed.probabilities;
  hold_as_attributes(w, {&map, &probabilities, &routed.map});
  Held held;
  held.dispatched = mcore::permute(tokens, sent, map);
  Tensor weights = mcore::permute(reshape(probabilities, {probabilities.elements(), 1}), sent, map);
  held.received = held.dispatched;
  if (s.ep > 1) {
    held.received = mcore::all_to_all(held.dispatched, received);
    weights = mcore::all_to_all(weights, received);
  }
  Tensor rows = mcore::gather_rows(held.received, expert_tp(s));
  weights = mcore::gather_rows(weights, expert_tp(s));
  if (local > 1) {
    rows = mcore::sort_chunks(rows);
    weights = mcore::sort_chunks(weights);
  }
  held.output = run_experts(w, p, rows, weights);
  rows.reset();
  if (local > 1) held.output = mcore::sort_chunks(held.output);
  held.output = mcore::scatter_rows(held.output, expert_tp(s));
  const Tensor home = s.ep > 1 ? mcore::all_to_all(held.output, sent) : held.output;
  leave_combine(w, held);
  return mcore::unpermute(home, tokens.size(0), map);
}

}  // namespace

namespace {

// SharedExpertMLP, which every token goes through.
Tensor shared_expert(const Walk& w, const Params& p, const Tensor& hidden) {
  const MlpRow& row = w.row.moe.shared_mlp;
  const std::string prefix = std::string(w.row.moe.shared) + ".";
  const std::string up = prefix + std::string(row.up), down = prefix + std::string(row.down),
                    gate_up = prefix + std::string(row.gate_up);
  return mlp(w, p, {}, {.up = up, .down = down, .gate_up = gate_up}, hidden);
}

}  // namespace

void hold_as_attributes(Walk& w, std::initializer_list<const Tensor*> tensors) {
  const Session& session = w.session;
  if (session.recomputing || session.running_again) return;
  const int64_t rounds =
      session.stretch > 0 ? session.stretch_counts[static_cast<size_t>(session.stretch) - 1] : 1;
  for (const Tensor* x : tensors)
    w.attributes = checked_add(w.attributes, checked_mul(rounds, session.rounded(x->bytes())));
}

Tensor experts(Walk& w, const Params& p, const Tensor& hidden) {
  const Tensor tokens = view(hidden, {hidden.size(0) * hidden.size(1), hidden.size(2)});
  Tensor shared;
  if (w.model().moe.shared_experts_ffn > 0) {
    const auto run = [&w, &p, hidden] { return shared_expert(w, p, hidden); };
    shared = recomputes(w, "shared_experts") ? checkpoint(w.session, hidden, run) : run();
  }
  const Routed routed = route(w, p, tokens);
  const bool gathers = w.strategy().megatron.dispatcher == Dispatcher::allgather;
  Tensor out = (gathers ? by_all_gather : by_all_to_all)(w, p, tokens, routed);
  out = view(out, hidden.sizes());
  return shared ? add(out, shared) : out;
}

}  // namespace memplan::megatron
