// lit_gpt/model.py, rmsnorm.py and adapter.py.
#include <array>
#include <string>

#include "lower/huggingface/losses.h"
#include "lower/litgpt/litgpt.h"
#include "memplan/error.h"

namespace memplan::litgpt {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;
using hf::Family;
using hf::Forward;
using hf::Params;

namespace {

// rmsnorm.py: in the dtype of x; later in fp32.
Tensor rms_norm(const Forward& f, const Tensor& given, const Tensor& weight) {
  const Tensor x = is_later(f) ? to(given, DType::f32) : given;
  Tensor norm_x;
  {
    const Tensor square = mul(x, x);
    norm_x = mean_last(square);
  }
  Tensor x_normed;
  {
    Tensor inverse = add_scalar(norm_x);
    inverse = rsqrt(inverse);
    x_normed = mul(x, inverse);
  }
  const Tensor weighed = mul(weight, x_normed);
  return to(weighed, given.dtype());
}

Tensor norm(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const Tensor weight = p.get(name, "weight");
  return f.row.norm == NormKind::rms ? rms_norm(f, x, weight)
                                     : layer_norm(x, weight, p.find(name, "bias"));
}

// x[..., :width], a view even of the whole.
Tensor first(const Tensor& x, int64_t width) {
  return width == x.size(-1) ? view(x, x.sizes()) : slice(x, -1, 0, width);
}

// cos and sin are fp32, and with them the products.
Tensor apply_rope(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const int64_t half = x.size(-1) / 2;
  const Tensor x1 = slice(x, -1, 0, half);
  const Tensor x2 = slice(x, -1, half, half);
  Tensor rotated;
  {
    const Tensor minus = neg(x2);
    const Tensor parts[] = {minus, x1};
    rotated = cat(parts);
  }
  Tensor roped;
  {
    const Tensor straight = mul(x, cos);
    const Tensor turned = mul(rotated, sin);
    roped = add(straight, turned);
  }
  return to(roped, x.dtype());
}

// torch.cat((roped, x[..., rope_n_elem:]), dim=-1)
Tensor with_rest(const Tensor& roped, const Tensor& x) {
  const int64_t width = roped.size(-1);
  const Tensor rest = slice(x, -1, width, x.size(-1) - width);
  const Tensor parts[] = {roped, rest};
  return cat(parts);
}

// y [b, s, heads, d]; the prompt's keys and values come from the cache.
Tensor attend(const Forward& f, const Params& p, const Tensor& q, const Tensor& k,
              const Tensor& v) {
  Tensor y = scaled_dot_product_attention(q, k, v, {.mask = {}, .causal = true});
  y = transpose(y, 1, 2);
  const Tensor gate = p.find("attn.gating_factor");
  if (!gate) return y;
  const Tensor ak = p.buffer("attn.adapter_k");
  const Tensor av = p.buffer("attn.adapter_v");
  const Tensor amask =
      make(f.session, "aten.ones.default", {q.size(2), ak.size(2)}, DType::boolean);
  Tensor ay = scaled_dot_product_attention(q, ak, av, {.mask = amask});
  ay = transpose(ay, 1, 2);
  const Tensor gated = mul(gate, ay);
  return add(y, gated);
}

Tensor attention(const Forward& f, const Params& p, const Tensor& x) {
  const int64_t b = f.batch, s = f.sequence, groups = f.model.kv_heads, d = f.model.head_dim;
  const int64_t per_group = f.model.heads / groups;
  Tensor qkv = litgpt::linear(f, p, f.row.attention.qkv, x);
  qkv = view(qkv, {b, s, groups, per_group + 2, d});
  qkv = permute(qkv, {0, 2, 3, 1, 4});
  Tensor q, k, v;
  {
    const std::vector<Tensor> parts = split(qkv, {per_group, 1, 1}, 2);
    q = parts[0];
    k = parts[1];
    v = parts[2];
  }
  if (groups != 1) {
    k = expand(k, {b, groups, per_group, s, d});
    v = expand(v, {b, groups, per_group, s, d});
  }
  q = reshape(q, {b, f.model.heads, s, d});
  k = reshape(k, {b, groups == 1 ? 1 : f.model.heads, s, d});
  v = reshape(v, {b, groups == 1 ? 1 : f.model.heads, s, d});
  const int64_t width = f.cos.size(-1);
  const Tensor q_roped = apply_rope(first(q, width), f.cos, f.sin);
  const Tensor k_roped = apply_rope(first(k, width), f.cos, f.sin);
  q = with_rest(q_roped, q);
  k = with_rest(k_roped, k);
  Tensor y = attend(f, p, q, k, v);
  y = reshape(y, {b, s, f.model.hidden});
  return litgpt::linear(f, p, f.row.attention.o, y);
}

Tensor mlp(const Forward& f, const Params& p, const Tensor& given) {
  const MlpRow& row = f.row.mlp;
  Tensor x = given;
  if (row.gate.empty()) {  // GptNeoxMLP
    x = litgpt::linear(f, p, row.up, x);
    x = activation(x, "gelu");
    return litgpt::linear(f, p, row.down, x);
  }
  const Tensor x_fc_1 = litgpt::linear(f, p, row.gate, x);
  const Tensor x_fc_2 = litgpt::linear(f, p, row.up, x);
  {
    const Tensor open = activation(x_fc_1, f.model.activation);
    x = mul(open, x_fc_2);
  }
  return litgpt::linear(f, p, row.down, x);
}

Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& given) {
  Tensor x = given;
  const Tensor n_1 = norm(f, p, f.row.before_attention, x);
  const Tensor h = attention(f, p, n_1);
  const bool later = is_later(f);
  if (f.row.residual == Residual::parallel) {
    const Tensor n_2 = f.row.before_mlp.empty() ? n_1 : norm(f, p, f.row.before_mlp, x);
    if (later) {
      Tensor sum = mlp(f, p, n_2);
      sum = add(sum, h);
      return add(sum, x);
    }
    const Tensor sum = add(x, h);
    const Tensor m = mlp(f, p, n_2);
    return add(sum, m);
  }
  x = later ? add(h, x) : add(x, h);
  Tensor m;
  {
    const Tensor n_2 = norm(f, p, f.row.before_mlp, x);
    m = mlp(f, p, n_2);
  }
  return later ? add(m, x) : add(x, m);
}

// The caches of rotary embedding: fp32 buffers of the longest sequence, which `buffers` counts.
int64_t rope_bytes(const Job& job) {
  return product({2, job.strategy.sequence, hf::rotary_width(job.model), size_of(DType::f32)});
}

Tensor embed(Forward& f, const Params& p) {
  const Shape cache{f.sequence, hf::rotary_width(f.model)};
  f.cos = owned_elsewhere(f.session, cache, DType::f32);
  f.sin = owned_elsewhere(f.session, cache, DType::f32);
  return embedding(p.get(f.row.embedding, "weight"), f.ids);
}

Tensor finish(Forward& f, const Params& head, const Tensor& hidden) {
  return norm(f, head, f.row.final_norm, hidden);
}

Tensor flat_rows(const Tensor& x) { return reshape(x, {x.elements() / x.size(-1), x.size(-1)}); }

// utils.py, chunked_cross_entropy of chunked logits.
Tensor chunked_cross_entropy(const Forward& f, const std::vector<Tensor>& logits) {
  const Tensor targets = slice(f.labels, 1, 1, f.sequence - 1);
  std::vector<int64_t> lengths = hf::split_lengths(f.sequence - 1, hf::kLitgptChunk);
  if (lengths.empty()) lengths.push_back(0);  // torch.split gives one chunk even of nothing
  std::vector<Tensor> rows, wanted, losses;
  for (const Tensor& chunk : logits) rows.push_back(flat_rows(chunk));
  for (const Tensor& chunk : split(targets, lengths, 1))
    wanted.push_back(reshape(chunk, {chunk.elements()}));
  // zip: a chunk of logits that the shift has emptied has no targets.
  for (size_t i = 0; i < wanted.size(); ++i)
    losses.push_back(cross_entropy(rows[i], wanted[i], Reduction::none));
  if (!is_later(f)) {
    const Tensor all = cat(losses);
    return mean(all);
  }
  Tensor counted;
  {
    const Tensor valid = make(f.session, "aten.ne.Scalar", targets.sizes(), DType::boolean);
    counted = sum(valid);
  }
  Tensor total;
  {
    const Tensor all = cat(losses);
    total = sum(all);
  }
  make(f.session, "aten.gt.Scalar", {}, DType::boolean);  // max(1, counted)
  return div(total, counted);
}

Tensor loss(Forward& f, const Params& head, const Params& embedding, Tensor hidden,
            Tensor& logits) {
  const auto last_dropped = [](const Tensor& x) { return slice(x, 1, 0, x.size(1) - 1); };
  Tensor out;
  if (f.job.strategy.peft.kind == PeftKind::none) {  // finetune/full.py
    {
      std::vector<Tensor> whole{hf::lm_logits(f, head, embedding, hidden)};
      hidden.reset();
      logits = hf::fabric_output(std::move(whole)).front();
    }
    const Tensor kept = last_dropped(logits);
    const Tensor rows = flat_rows(kept);
    const Tensor targets = slice(f.labels, 1, 1, f.sequence - 1);
    out = cross_entropy(rows, reshape(targets, {targets.elements()}));
  } else {
    const auto project = [&](const Tensor& x) { return litgpt::linear(f, head, f.row.head, x); };
    f.outputs = hf::fabric_output(hf::litgpt_chunked_output(std::move(hidden), project));
    f.outputs.back() = last_dropped(f.outputs.back());
    out = chunked_cross_entropy(f, f.outputs);
  }
  f.outputs.push_back(out);
  return div_scalar(out);  // by gradient_accumulation_iters
}

constexpr Family kFamily = {.name = "litgpt",
                            .layer = layer,
                            .embed = embed,
                            .finish = finish,
                            .loss = nullptr,
                            .buffers = rope_bytes,
                            .program_loss = loss};

}  // namespace

const Family& family(const ModelSpec& model) {
  constexpr std::array<std::string_view, 4> kFamilies{"llama", "mistral", "phi", "gpt_neox"};
  for (std::string_view name : kFamilies)
    if (model.family == name && model.head == ModelHead::causal_lm) return kFamily;
  throw Error(ErrorKind::not_modelled, "--framework litgpt",
              "litgpt's model of '" + model.family + "' is not modelled",
              "use --framework textbook");
}

}  // namespace memplan::litgpt
