#include "lower/huggingface/module.h"

#include <algorithm>
#include <string>

#include "lower/huggingface/liger.h"
#include "lower/huggingface/peft.h"
#include "lower/huggingface/quantized.h"
#include "lower/huggingface/versions.h"
#include "memplan/error.h"
#include "ops/aten/collectives.h"
#include "policy/deepspeed.h"
#include "policy/fsdp.h"
#include "policy/tensor_parallel.h"

namespace memplan::hf {

using namespace aten;  // NOLINT: this file is written in its operators

Params::Params(Session& session, const Graph& graph, const Job& job, int64_t copies)
    : graph_(&graph), reached_(graph.adapted.size()) {
  const Strategy& s = job.strategy;
  const FamilyRow row = family_row(job.model);
  const auto sizes_of = [&](const Param& p) {
    const std::array<int64_t, 4> shape = tensor_parallel::local_shape(s, p);
    return Shape(std::span(shape.data(), static_cast<size_t>(p.dims)));
  };
  for (const Param& p : graph.params) {
    Shape sizes = sizes_of(p);
    if (quantizes(s, row, p)) {
      if (row.attention.transposed) std::swap(sizes[0], sizes[1]);  // a Conv1D becomes a linear
      leaves_.push_back(&session.quantized_leaf(sizes, quant_format(s), copies));
    } else if (deepspeed::wrapper(s) == deepspeed::Wrapper::zero_3 && deepspeed::partitions(s)) {
      leaves_.push_back(
          &session.unsharded_leaf(sizes, stored_dtype(s, row, graph, p), p.trainable, copies));
    } else if (fsdp::shards_parameters(s)) {
      const DType compute = fsdp::compute_dtype(s, stored_dtype(s, row, graph, p));
      leaves_.push_back(&session.unsharded_leaf(sizes, compute, p.trainable, copies));
    } else {
      leaves_.push_back(&session.leaf(sizes, stored_dtype(s, row, graph, p), p.trainable, copies));
    }
  }
  for (const Param& p : graph.buffers)
    buffers_.push_back(
        &session.leaf(sizes_of(p), p.dtype.value_or(s.precision.weight), p.trainable, copies));
}

int64_t Params::buffer_bytes(bool registered) const {
  int64_t sum = 0;
  for (size_t i = 0; i < buffers_.size(); ++i)
    if (graph_->buffers[i].registered == registered)
      sum = checked_add(sum, checked_mul(buffers_[i]->value.bytes(), buffers_[i]->copies));
  return sum;
}

const PeftModule* Params::adapted(std::string_view name) const {
  for (size_t i = 0; i < reached_.size(); ++i)
    if (graph_->adapted[i].name == name) {
      reached_[i] = true;
      return &graph_->adapted[i];
    }
  return nullptr;
}

const PeftModule* Params::unreached() const {
  const auto at = std::find(reached_.begin(), reached_.end(), false);
  return at == reached_.end() ? nullptr
                              : &graph_->adapted[static_cast<size_t>(at - reached_.begin())];
}

Tensor Params::buffer(std::string_view name) const {
  for (size_t i = 0; i < buffers_.size(); ++i)
    if (graph_->buffers[i].name == name) return buffers_[i]->value;
  return {};
}

void Forward::release_locals() {
  for (Tensor* x : {&inputs_embeds, &position_ids, &causal_mask, &sliding_mask, &cos, &sin,
                    &local_cos, &local_sin})
    x->reset();
  shared.clear();
  returned.clear();
  locals.clear();
}

void Forward::release_wrapper() {
  outputs.insert(outputs.end(), past.begin(), past.end());  // past_key_values
  past.clear();
  wrapper_locals.clear();
  if (prompt_tokens) padding.reset();
}

int64_t Forward::keys() const { return sequence + (past.empty() ? 0 : past.front().size(-2)); }

Forward Forward::arguments() const {
  Forward out = *this;
  out.inputs_embeds.reset();
  out.returned.clear();
  out.locals.clear();
  out.loop.clear();
  out.wrapper_locals.clear();
  if (job.strategy.attention != AttentionKind::flash) out.padding.reset();
  return out;
}

Tensor Params::find(std::string_view name) const {
  const size_t dot = name.rfind('.');
  if (dot == name.npos) return find_exactly({}, {}, name);
  return find(name.substr(0, dot), name.substr(dot + 1));
}

Tensor Params::find(std::string_view module, std::string_view suffix) const {
  // Copies that peft trains in the module's place.
  if (!graph_->context.peft->modules_to_save.empty() ||
      graph_->context.peft->kind == PeftKind::ln_tuning)
    for (std::string_view copy : {"modules_to_save.default", "ln_tuning_layers.default"})
      if (Tensor found = find_exactly(module, copy, suffix)) return found;
  return find_exactly(module, {}, suffix);
}

// The parts that are not empty, joined by dots.
Tensor Params::find_exactly(std::string_view module, std::string_view between,
                            std::string_view suffix) const {
  const auto eat = [](std::string_view& rest, std::string_view part) {
    if (part.empty()) return true;
    if (!rest.starts_with(part) || rest.size() <= part.size() || rest[part.size()] != '.')
      return false;
    rest.remove_prefix(part.size() + 1);
    return true;
  };
  for (size_t i = 0; i < leaves_.size(); ++i) {
    std::string_view rest = graph_->params[i].name;
    if (eat(rest, module) && eat(rest, between) && rest == suffix) return leaves_[i]->value;
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

Tensor linear(const Forward& f, const Params& p, std::string_view name, const Tensor& x,
              bool bias_apart) {
  const Tensor weight = p.get(name, "weight");
  const Tensor bias = p.find(name, "bias");
  if (is_quantized(weight) && unpacks_by_itself(f.job.strategy.peft.kind))
    return quantized_module(f, p, name, x, weight, bias);
  // Conv1D always has a bias; a classifier's score, a plain layer in such models too, has none.
  const bool transposed = bias && (f.row.attention.transposed || f.row.mlp.transposed);
  using tensor_parallel::Style;
  const Style style = tensor_parallel::style_of(f.job.strategy, name);
  if (style == Style::whole)
    return adapted_linear(f, p, {name, weight, bias, transposed, bias_apart}, x);
  const Tensor input = style == Style::colwise ? replicate(x) : x;
  const Tensor part = adapted_linear(f, p, {name, weight, bias, transposed, bias_apart}, input);
  return style == Style::rowwise ? all_reduce(part) : part;
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, bool weigh_in_f32) {
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
  if (weigh_in_f32) {
    const Tensor product = mul(weight, wide);
    return to(product, dtype);
  }
  Tensor narrow = to(wide, dtype);
  return mul(weight, narrow);
}

namespace {

Tensor late_narrowed_norm(const Tensor& x, const Tensor& weight) {
  Tensor variance;
  {
    Tensor square;
    {
      const Tensor wide = to(x, DType::f32);
      square = pow_scalar(wide);
    }
    variance = mean_last(square);
  }
  Tensor hidden;
  {
    Tensor scale = add_scalar(variance);
    scale = rsqrt(scale);
    hidden = mul(x, scale);
  }
  const Tensor product = mul(weight, hidden);
  return to(product, x.dtype());
}

}  // namespace

Tensor llama_norm(const Forward& f, const Tensor& x, const Tensor& weight) {
  if (runs_liger(f)) return liger::rms_norm(x, weight, liger_device(f));
  return narrows_norm_last(f.job) ? late_narrowed_norm(x, weight) : rms_norm(x, weight);
}

Tensor row_norm(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const Tensor weight = p.find(name, "weight"), bias = p.find(name, "bias");
  return called(f, p, name, {weight, bias}, x, [&](const Tensor& given) {
    if (f.row.norm == NormKind::rms) return llama_norm(f, given, p.get(name, "weight"));
    return layer_norm(given, weight, bias);
  });
}

int64_t rotary_width(const ModelSpec& model) {
  return model.extra_or("rotary_dim", model.head_dim);
}

// In fp32 whatever autocast says; computed once for all layers.
void rotary_embedding(const Forward& f, int64_t width, Tensor& cos, Tensor& sin,
                      std::optional<DType> narrow) {
  Session& s = f.session;
  const int64_t length = f.sequence, half = ceil_div(width, 2);
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
  const DType dtype = narrow ? *narrow : f.inputs_embeds.dtype();
  cos = to(c, dtype);
  sin = to(n, dtype);
}

void prepare_rotary(Forward& f, const Params& p) {
  const int64_t width = rotary_width(f.model);
  switch (rotary_home(f.job)) {
    case RotaryHome::layers:
      return;
    case RotaryHome::tables:
      for (Tensor* x : {&f.cos, &f.sin})
        *x = owned_elsewhere(f.session, {1, 1, rotary_positions(f.job), width}, DType::f32);
      return;
    case RotaryHome::layers_and_model:
    case RotaryHome::model:
      if (f.modules) f.modules->enter(p, "rotary_emb", {}, f.inputs_embeds);
      rotary_embedding(f, width, f.cos, f.sin);
      if (f.modules) f.modules->leave(p, "rotary_emb", f.cos);
  }
}

Rotary layer_rotary(const Forward& f, const Tensor& v) {
  Rotary own{f.cos, f.sin};
  if (rotary_home(f.job) == RotaryHome::tables) {
    for (Tensor* x : {&own.cos, &own.sin}) *x = to(slice(*x, 2, 0, f.sequence), v.dtype());
    return own;
  }
  if (rotary_home(f.job) == RotaryHome::layers)
    rotary_embedding(f, rotary_width(f.model), own.cos, own.sin, v.dtype());
  return own;
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

Rotary rotary_rows(const Forward& f, const Rotary& tables) {
  const auto rows = [&](const Tensor& table) {
    return make(f.session, "aten.index.Tensor", {1, f.sequence, table.size(-1)}, table.dtype());
  };
  Rotary out;
  out.cos = rows(tables.cos);
  out.sin = rows(tables.sin);
  return out;
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
  Tensor wide;
  {
    // x[:, :, None, :, :]
    const Tensor whole = every(x, 2);
    wide = unsqueeze(whole, 2);
    wide = every(wide, 2);
  }
  wide = expand(wide, {b, heads, groups, s, d});
  return reshape(wide, {b, heads * groups, s, d});
}

Tensor columns(const Tensor& x, int64_t start, int64_t length) {
  return length == x.size(-1) ? x : slice(x, -1, start, length);
}

Tensor autocast_softmax(const Tensor& x) {
  const Session& session = x.session();
  return session.autocast && session.backend == Backend::cuda ? softmax_f32(x) : softmax(x);
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
