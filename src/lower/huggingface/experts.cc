// Routers, and the experts behind them (transformers/integrations/moe.py and the models' own
// SparseMoeBlock).
#include <string>

#include "lower/huggingface/moe.h"
#include "memplan/error.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

std::string expert_name(const Forward& f, std::string_view param) {
  return std::string(f.row.moe.experts) + "." + std::string(param);
}

// ACT2FN(gate) · up, the halves of one tensor
Tensor gated_halves(const Tensor& gate_up, std::string_view name) {
  const int64_t width = gate_up.size(-1) / 2;
  const std::vector<Tensor> halves = split(gate_up, {width, width});
  const Tensor gate = activation(halves[0], name);
  return mul(gate, halves[1]);
}

Tensor grouped_linear(const Forward& f, const Tensor& x, const Tensor& weight,
                      const Tensor& offsets, const Tensor& bias) {
  Tensor out;
  {
    const Tensor w = f.row.moe.transposed ? weight : transpose(weight, -2, -1);
    const Tensor rows = to(x, weight.dtype());
    out = grouped_mm(rows, w, offsets);
  }
  return bias ? add_in_place(out, bias) : out;
}

// Rows of each expert's end in the sorted stream.
Tensor expert_offsets(const Forward& f, const Tensor& sorted, Tensor& kept) {
  Session& s = f.session;
  const DType counted = s.backend == Backend::cuda ? DType::i32 : DType::f32;
  kept = to(sorted, counted);
  const Shape experts{f.model.moe.experts};
  return make(s, "aten.histc.default", experts, counted);
}

Tensor router(const Forward& f, const Params& p, const Tensor& x) {
  return aten::linear(x, p.get(f.row.moe.router, "weight"), p.find(f.row.moe.router, "bias"));
}

Tensor shared_expert(const Forward& f, const Params& p, const Tensor& x) {
  const std::string prefix = std::string(f.row.moe.shared) + ".";
  const std::string gate = prefix + "gate_proj", up = prefix + "up_proj",
                    down = prefix + "down_proj";
  return gated_mlp(f, p, {.gate = gate, .up = up, .down = down}, x);
}

// scores [tokens, experts] with those masked whose group is not among the best; what a group is
// worth: [tokens, groups].
Tensor within_groups(const Forward& f, const Tensor& scores, const Tensor& worth) {
  const int64_t tokens = scores.size(0), experts = scores.size(1), groups = worth.size(1);
  const Selected best = topk(worth, f.model.extra_or("topk_group", 1));
  const Tensor chosen = make(f.session, "aten.zeros_like.default", worth.sizes(), worth.dtype());
  f.session.ledger.note("aten.scatter_.value");
  Tensor wide = unsqueeze(chosen, -1);
  wide = expand(wide, {tokens, groups, experts / groups});
  wide = reshape(wide, {tokens, experts});
  const Tensor inside = to(wide, DType::boolean);
  const Tensor outside = pointwise("aten.bitwise_not.default", {&inside}, DType::boolean);
  return masked_fill(scores, outside);
}

Tensor by_group(const Forward& f, const Tensor& scores) {
  const int64_t groups = f.model.extra_or("n_group", 1), experts = scores.size(1);
  if (experts % groups != 0)
    throw Error(
        ErrorKind::bad_input, "n_group",
        std::to_string(experts) + " experts are not whole groups of " + std::to_string(groups),
        "give a divisor of n_routed_experts");
  return view(scores, {scores.size(0), groups, experts / groups});
}

bool normalizes(const Forward& f) { return f.model.extra_or("norm_topk_prob", 0) != 0; }

}  // namespace

Tensor clamped_gate(const Tensor& gate_up) {
  const int64_t width = gate_up.size(-1) / 2;
  Tensor gate = slice(gate_up, -1, 0, width, 2);
  Tensor up = slice(gate_up, -1, 1, width, 2);
  gate = clamp(gate, false);
  up = clamp(up, true);
  Tensor glu;
  {
    Tensor sharp = mul_scalar(gate);
    sharp = sigmoid(sharp);
    glu = mul(gate, sharp);
  }
  const Tensor shifted = add_scalar(up);
  return mul(shifted, glu);
}

Tensor routed_experts(const Forward& f, const Params& p, const Tensor& x, const Routing& routing) {
  Session& s = f.session;
  const int64_t tokens = x.size(0), rows = routing.indices.elements(), width = x.size(1);
  const Tensor sample_weights = reshape(routing.weights, {rows});
  const Tensor expert_ids = reshape(routing.indices, {rows});
  const Selected sorted = sort(expert_ids);
  const Tensor& permutation = sorted.indices;

  Tensor chosen;
  {
    const Tensor token = pointwise("aten.floor_divide.default", {&permutation}, DType::i64);
    chosen = index_rows(x, token);
  }
  const Tensor chosen_weights = index_rows(sample_weights, permutation);
  Tensor histogram_input;
  const Tensor counts = expert_offsets(f, sorted.values, histogram_input);
  const Tensor offsets = make(s, "aten.cumsum.default", counts.sizes(), DType::i32);
  Tensor sentinels = pointwise("aten.ge.Scalar", {&sorted.values}, DType::boolean);
  sentinels = unsqueeze(sentinels, -1);

  const bool biased = f.row.moe.bias;
  const auto bias_of = [&](std::string_view name) {
    return biased ? index_rows(p.find(expert_name(f, name)), sorted.values) : Tensor();
  };
  Tensor bias = bias_of("gate_up_proj_bias");
  chosen = masked_fill_in_place(chosen, sentinels);
  Tensor out = grouped_linear(f, chosen, p.find(expert_name(f, "gate_up_proj")), offsets, bias);
  out = f.row.moe.transposed ? clamped_gate(out) : gated_halves(out, f.model.activation);
  bias = bias_of("down_proj_bias");
  out = grouped_linear(f, out, p.find(expert_name(f, "down_proj")), offsets, bias);

  Tensor weighted;
  {
    const Tensor column = unsqueeze(chosen_weights, -1);
    weighted = mul(out, column);
  }
  weighted = masked_fill_in_place(weighted, sentinels);
  const Tensor back = make(s, "aten.empty_like.default", {rows}, DType::i64);
  {
    const Tensor order = make(s, "aten.arange.default", {rows}, DType::i64);
    s.ledger.note("aten.index_put_.default");
  }
  weighted = index_rows(weighted, back);
  Tensor sum;
  {
    const Tensor by_token = view(weighted, {tokens, rows / tokens, width});
    sum = sum_dim(by_token, 1);
  }
  return to(sum, x.dtype());
}

Tensor mixtral_experts(Forward& f, const Params& p, const Tensor& input) {
  const Tensor x = view(input, {input.elements() / input.size(-1), input.size(-1)});
  Routing routing;
  Tensor logits;  // the block holds it under a name it does not use
  {
    logits = router(f, p, x);
    Tensor probabilities;
    {
      const Tensor wide = to(logits, DType::f32);
      probabilities = softmax(wide);
    }
    Selected top = topk(probabilities, f.model.moe.experts_per_token);
    const Tensor total = sum_last(top.values);
    routing = {top.indices, div_in_place(top.values, total)};
  }
  const Tensor out = routed_experts(f, p, x, routing);
  return reshape(out, input.sizes());
}

Tensor qwen_experts(Forward& f, const Params& p, const Tensor& input) {
  const Tensor x = view(input, {input.elements() / input.size(-1), input.size(-1)});
  const MoeRow& row = f.row.moe;
  const bool has_shared = !row.shared.empty() && f.model.moe.shared_experts_ffn > 0;
  Tensor shared;
  if (has_shared) shared = shared_expert(f, p, x);
  Routing routing;
  Tensor logits;
  {
    logits = router(f, p, x);
    const Tensor probabilities = softmax_f32(logits);
    Selected top = topk(probabilities, f.model.moe.experts_per_token);
    if (normalizes(f)) {
      const Tensor total = sum_last(top.values);
      top.values = div_in_place(top.values, total);
    }
    routing = {top.indices, to(top.values, logits.dtype())};
  }
  Tensor out = routed_experts(f, p, x, routing);
  if (has_shared) {
    Tensor gate = linear(f, p, row.shared_gate, x);
    gate = sigmoid(gate);
    shared = mul(gate, shared);
    gate.reset();
    out = add(out, shared);
  }
  return reshape(out, input.sizes());
}

namespace {

// logits in fp32 [b, s, experts] or [tokens, experts] -> weights of the chosen
Routing deepseek_v2_routing(const Forward& f, const Tensor& logits, int64_t tokens) {
  Tensor scores = view(logits, {tokens, logits.size(-1)});
  scores = softmax_f32(scores);
  Tensor candidates = scores;
  if (f.model.extra_or("topk_method", 0) != 0) {
    Tensor worth;
    {
      const Selected best = max_last(by_group(f, scores));
      worth = squeeze(best.values, -1);
    }
    candidates = within_groups(f, scores, worth);
  }
  const Selected top = topk(candidates, f.model.moe.experts_per_token);
  return {top.indices, mul_scalar(top.values)};
}

Routing deepseek_v3_routing(const Forward& f, const Tensor& logits) {
  const Tensor scores = sigmoid(logits);
  const Tensor choice = add_scalar(scores);  // e_score_correction_bias, a buffer
  Tensor worth;
  {
    const Selected best = topk(by_group(f, choice), 2);
    worth = sum_dim(best.values, -1);
  }
  const Tensor candidates = within_groups(f, choice, worth);
  const Tensor indices = topk(candidates, f.model.moe.experts_per_token).indices;
  Tensor weights = gather(scores, indices);
  if (normalizes(f)) {
    Tensor total = sum_last(weights);
    total = add_scalar(total);
    weights = div_in_place(weights, total);
  }
  return {indices, mul_scalar(weights)};
}

Tensor with_shared(const Forward& f, const Params& p, const Tensor& x, const Routing& routing) {
  Tensor out;
  {
    const Tensor rows = view(x, {x.elements() / x.size(-1), x.size(-1)});
    out = routed_experts(f, p, rows, routing);
  }
  out = view(out, x.sizes());
  if (f.model.moe.shared_experts_ffn == 0) return out;
  const Tensor shared = shared_expert(f, p, x);
  return add(out, shared);
}

// F.linear(x.type(float32), weight.type(float32))
Tensor wide_router(const Forward& f, const Params& p, const Tensor& x) {
  const Tensor wide = to(x, DType::f32);
  const Tensor weight = to(p.get(f.row.moe.router, "weight"), DType::f32);
  return aten::linear(wide, weight, {});
}

}  // namespace

Tensor deepseek_v2_experts(Forward& f, const Params& p, const Tensor& x) {
  const Tensor logits = wide_router(f, p, x);
  const Routing routing = deepseek_v2_routing(f, logits, x.elements() / x.size(-1));
  return with_shared(f, p, x, routing);
}

Tensor deepseek_v3_experts(Forward& f, const Params& p, const Tensor& x) {
  Tensor logits;
  {
    const Tensor rows = view(x, {x.elements() / x.size(-1), x.size(-1)});
    logits = wide_router(f, p, rows);
  }
  const Routing routing = deepseek_v3_routing(f, logits);
  return with_shared(f, p, x, routing);
}

}  // namespace memplan::hf
