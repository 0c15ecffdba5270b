// torchtitan/models/llama3/model/model.py and torchtitan/components/loss.py.
#include <string>
#include <utility>

#include "lower/torchtitan/torchtitan.h"
#include "memplan/error.h"
#include "ops/aten/rms_norm.h"

namespace memplan::torchtitan {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;
using hf::Family;
using hf::Forward;
using hf::Params;

namespace {

Tensor linear(const Params& p, std::string_view name, const Tensor& x) {
  return aten::linear(x, p.get(name, "weight"), {});
}

bool of_2024(const Forward& f) { return release_of(f.job.strategy) != Release::february_2026; }

// nn.RMSNorm; in 2024 a module of its own, operator by operator as LlamaRMSNorm.
Tensor norm(const Forward& f, const Params& p, std::string_view name, const Tensor& x) {
  const Tensor weight = p.get(name, "weight");
  return of_2024(f) ? hf::rms_norm(x, weight) : aten::rms_norm(x, weight);
}

// repeat_kv of [b, s, kv_heads, d], before the heads are transposed.
Tensor for_all_heads(const Forward& f, const Tensor& x) {
  const int64_t b = x.size(0), s = x.size(1), kv = f.model.kv_heads, d = f.model.head_dim;
  if (kv == f.model.heads) return x;
  const Tensor apart = unsqueeze(x, 3);
  const Tensor wide = expand(apart, {b, s, kv, f.model.heads / kv, d});
  return reshape(wide, {b, s, f.model.heads, d});
}

// view_as_complex of the last dimension's pairs: [b, s, heads, d/2, 2]
Tensor as_complex(const Tensor& x) {
  const Tensor wide = to(x, DType::f32);
  return reshape(wide, {x.size(0), x.size(1), x.size(2), x.size(3) / 2, 2});
}

// apply_rotary_emb; freqs_cis is complex64, of which each number is two fp32.
void apply_rotary(const Forward& f, Tensor& xq, Tensor& xk) {
  const Tensor xq_ = as_complex(xq);
  const Tensor xk_ = as_complex(xk);
  const int64_t half = f.model.head_dim / 2;
  const Tensor freqs_cis = owned_elsewhere(f.session, {1, f.sequence, 1, half, 2}, DType::f32);
  const Tensor xq_out = view(mul_complex(xq_, freqs_cis), xq.sizes());
  const Tensor xk_out = view(mul_complex(xk_, freqs_cis), xk.sizes());
  Tensor narrow_q = to(xq_out, xq.dtype());
  Tensor narrow_k = to(xk_out, xk.dtype());
  xq = std::move(narrow_q);
  xk = std::move(narrow_k);
}

// Attention.forward
Tensor attention(const Forward& f, const Params& p, const Tensor& x) {
  const AttentionRow& row = f.row.attention;
  const int64_t b = x.size(0), s = x.size(1), d = f.model.head_dim;
  Tensor xq = linear(p, row.q, x);
  Tensor xk = linear(p, row.k, x);
  Tensor xv = linear(p, row.v, x);
  xq = view(xq, {b, s, f.model.heads, d});
  xk = view(xk, {b, s, f.model.kv_heads, d});
  xv = view(xv, {b, s, f.model.kv_heads, d});
  apply_rotary(f, xq, xk);
  SdpaOptions options;
  options.causal = true;
  Tensor output;
  if (of_2024(f)) {
    const Tensor keys = for_all_heads(f, xk);
    const Tensor values = for_all_heads(f, xv);
    xq = transpose(xq, 1, 2);
    xk = transpose(keys, 1, 2);
    xv = transpose(values, 1, 2);
    output = scaled_dot_product_attention(xq, xk, xv, options);
  } else {
    xq = transpose(xq, 1, 2);
    xk = transpose(xk, 1, 2);
    xv = transpose(xv, 1, 2);
    options.cudnn_first = true;
    options.gqa = f.model.heads > f.model.kv_heads;
    output = scaled_dot_product_attention(xq, xk, xv, options);
  }
  output = contiguous(transpose(output, 1, 2));
  output = view(output, {b, s, f.model.heads * d});
  return linear(p, row.o, output);
}

// FeedForward.forward
Tensor feed_forward(const Forward& f, const Params& p, const Tensor& x) {
  const MlpRow& row = f.row.mlp;
  Tensor product;
  {
    const Tensor gate = activation(linear(p, row.gate, x), "silu");
    const Tensor up = linear(p, row.up, x);
    product = mul(gate, up);
  }
  return linear(p, row.down, product);
}

// TransformerBlock.forward
Tensor layer(Forward& f, const Params& p, const LayerKind&, const Tensor& x) {
  Tensor h;
  {
    Tensor out;
    {
      const Tensor normed = norm(f, p, f.row.before_attention, x);
      out = attention(f, p, normed);
    }
    h = add(x, out);
  }
  Tensor out;
  {
    const Tensor normed = norm(f, p, f.row.before_mlp, h);
    out = feed_forward(f, p, normed);
  }
  return add(h, out);
}

Tensor embed(Forward& f, const Params& p) {
  // accumulated_losses keeps one of each micro-batch.
  for (int64_t i = 1; i < f.job.strategy.micro_batches(); ++i)
    f.loop.push_back(allocate(f.session, {}, DType::f32));
  return embedding(p.get(f.row.embedding, "weight"), f.ids);
}

Tensor finish(Forward& f, const Params& head, const Tensor& hidden) {
  return norm(f, head, f.row.final_norm, hidden);
}

Tensor output(Forward& f, const Params& head, Tensor hidden) {
  hidden = norm(f, head, f.row.final_norm, hidden);
  const Tensor narrow = linear(head, f.row.head, hidden);
  return release_of(f.job.strategy) == Release::march_2024 ? to(narrow, DType::f32) : narrow;
}

// cross_entropy_loss and Trainer.forward_backward_step; `logits` is pred.
Tensor loss(Forward& f, const Params&, const Params&, Tensor pred, Tensor& logits) {
  const Tensor rows = view(pred, {pred.size(0) * pred.size(1), pred.size(2)});
  if (of_2024(f)) {  // train.py; in March pred is not deleted before backward
    if (release_of(f.job.strategy) == Release::march_2024) logits = pred;
    const Tensor scores = to(rows, DType::f32);
    f.loop.push_back(cross_entropy(scores, view(f.labels, {f.labels.elements()})));
    return f.loop.back();
  }
  Tensor loss_sum;
  {
    const Tensor wide = to(rows, DType::f32);
    const Tensor labels = view(f.labels, {f.labels.elements()});
    loss_sum = cross_entropy(wide, labels, Reduction::sum);
  }
  f.locals.push_back(loss_sum);
  Tensor out = div_scalar(loss_sum);
  f.loop.push_back(out);
  return out;
}

int64_t buffers(const Job& job) {
  constexpr int64_t kOfMarch = 2 * 32768;  // ModelArgs.max_seq_len * 2
  const bool march = release_of(job.strategy) == Release::march_2024;
  return product(
      {march ? kOfMarch : job.strategy.sequence, job.model.head_dim / 2, 2 * size_of(DType::f32)});
}

constexpr Family kFamily = {.name = "torchtitan",
                            .layer = layer,
                            .embed = embed,
                            .finish = finish,
                            .loss = nullptr,
                            .buffers = buffers,
                            .output = output,
                            .program_loss = loss};

}  // namespace

const Family& family(const ModelSpec& model) {
  if (model.family == "llama" && model.head == ModelHead::causal_lm) return kFamily;
  throw Error(ErrorKind::not_modelled, "--framework torchtitan",
              "torchtitan's model of '" + model.family + "' is not modelled",
              "use --framework fsdp2, of transformers' modules");
}

}  // namespace memplan::torchtitan
