#include "lower/huggingface/module.h"

#include <string>

#include "memplan/error.h"
#include "ops/adapter.h"

namespace memplan::hf {

using namespace aten;  // NOLINT: this file is written in its operators

Params::Params(Session& session, const Graph& graph, const Precision& precision, int64_t copies)
    : graph_(&graph) {
  for (const Param& p : graph.params) {
    Shape sizes;
    for (int i = 0; i < p.dims; ++i)
      sizes.at[static_cast<size_t>(sizes.dims++)] = p.shape[static_cast<size_t>(i)];
    leaves_.push_back(&session.leaf(sizes, precision.weight, p.trainable, copies));
  }
}

void Forward::release_locals() {
  for (Tensor* x : {&inputs_embeds, &position_ids, &causal_mask, &sliding_mask, &cos, &sin,
                    &local_cos, &local_sin})
    x->reset();
  shared.clear();
  locals.clear();
}

Forward Forward::arguments() const {
  Forward out = *this;
  out.inputs_embeds.reset();
  out.locals.clear();
  return out;
}

Tensor Params::find(std::string_view name) const {
  for (size_t i = 0; i < leaves_.size(); ++i)
    if (graph_->params[i].name == name) return leaves_[i]->value;
  return {};
}

Tensor Params::find(std::string_view module, std::string_view suffix) const {
  for (size_t i = 0; i < leaves_.size(); ++i) {
    const std::string_view name = graph_->params[i].name;
    if (name.size() == module.size() + 1 + suffix.size() && name.starts_with(module) &&
        name.ends_with(suffix) && name[module.size()] == '.')
      return leaves_[i]->value;
  }
  return {};
}

Tensor Params::get(std::string_view module, std::string_view suffix) const {
  Tensor found = find(module, suffix);
  if (!found)
    throw Error(ErrorKind::not_modelled, "--framework",
                "the forward of this model's " + std::string(module) + " is not modelled",
                "use --framework textbook");
  return found;
}

namespace {

// peft's lora.Linear.forward (tuners/lora/layer.py): the result, then x in the adapter's dtype,
// its own dropout, A, B, the scaling and the sum.
Tensor with_lora(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
                 Tensor result) {
  const Tensor a = p.find(name, "lora_A.default.weight");
  if (!a) return result;
  const Tensor b = p.get(name, "lora_B.default.weight");
  const DType out = result.dtype();
  Tensor low = to(x, a.dtype());
  low = dropout(low, f.job.strategy.peft.dropout);
  low = aten::linear(low, a, {});
  low = aten::linear(low, b, {});
  low = mul_scalar(low);
  result = add(result, low);
  low.reset();
  return to(result, out);
}

}  // namespace

Tensor linear(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const Tensor weight = p.get(name, "weight");
  const Tensor bias = p.find(name, "bias");
  const bool transposed = f.row.attention.transposed || f.row.mlp.transposed;
  Tensor y = transposed ? conv1d(x, weight, bias) : aten::linear(x, weight, bias);
  return with_lora(f, p, name, x, std::move(y));
}

Tensor rms_norm(const Tensor& x, const Tensor& weight) {
  const DType dtype = x.dtype();
  Tensor wide = to(x, DType::f32);
  Tensor scale = pow_scalar(wide);
  scale = mean_last(scale);
  Tensor normed;
  {
    Tensor eps = add_scalar(scale);
    eps = rsqrt(eps);
    normed = mul(wide, eps);
  }
  wide = std::move(normed);
  Tensor narrow = to(wide, dtype);
  return mul(weight, narrow);
}

Tensor row_norm(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  if (f.row.norm == NormKind::rms) return rms_norm(x, p.get(name, "weight"));
  return layer_norm(x, p.find(name, "weight"), p.find(name, "bias"));
}

// In fp32 whatever autocast says; computed once for all layers.
void rotary_embedding(const Forward& f, int64_t rotary_dim, Tensor& cos, Tensor& sin) {
  Session& s = f.session;
  const int64_t length = f.sequence, half = rotary_dim / 2;
  NoGrad off(s);
  const Tensor positions = make(s, "aten._to_copy.default", {1, 1, length}, DType::f32);
  const Tensor product = make(s, "aten.bmm.default", {1, half, length}, DType::f32);
  const Tensor freqs = transpose(product, 1, 2);
  const Tensor both[] = {freqs, freqs};
  const Tensor emb = cat(both);
  Tensor c = pointwise("aten.cos.default", {&emb}, DType::f32);
  c = mul_scalar(c);
  Tensor n = pointwise("aten.sin.default", {&emb}, DType::f32);
  n = mul_scalar(n);
  const DType dtype = f.inputs_embeds.dtype();
  cos = to(c, dtype);
  sin = to(n, dtype);
}

Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const Tensor straight = mul(x, cos);
  const int64_t half = x.size(-1) / 2;
  Tensor rotated;
  {
    const Tensor first = slice(x, -1, 0, half);
    const Tensor second = slice(x, -1, half, half);
    const Tensor minus = neg(second);
    const Tensor parts[] = {minus, first};
    rotated = cat(parts);
  }
  const Tensor turned = mul(rotated, sin);
  rotated.reset();
  return add(straight, turned);
}

void apply_rotary(const Tensor& cos, const Tensor& sin, Tensor& q, Tensor& k) {
  const Tensor c = unsqueeze(cos, 1);
  const Tensor s = unsqueeze(sin, 1);
  Tensor turned_q = rotate(q, c, s);
  Tensor turned_k = rotate(k, c, s);
  q = std::move(turned_q);
  k = std::move(turned_k);
}

Tensor repeat_kv(const Tensor& x, int64_t groups) {
  if (groups == 1) return x;
  const int64_t b = x.size(0), heads = x.size(1), s = x.size(2), d = x.size(3);
  Tensor wide = unsqueeze(x, 2);
  wide = expand(wide, {b, heads, groups, s, d});
  return reshape(wide, {b, heads * groups, s, d});
}

Tensor split_heads(const Tensor& x, int64_t head_dim) {
  const Tensor heads = view(x, {x.size(0), x.size(1), x.size(2) / head_dim, head_dim});
  return transpose(heads, 1, 2);
}

Tensor join_heads(const Tensor& x) {
  const Tensor whole = contiguous(x);
  return view(whole, {x.size(0), x.size(1), x.size(2) * x.size(3)});
}

}  // namespace memplan::hf
