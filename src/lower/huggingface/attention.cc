// Masks (transformers/masking_utils.py) and attention functions (integrations/sdpa_attention.py,
// integrations/flash_attention.py, eager_attention_forward of the models).
#include "lower/huggingface/module.h"
#include "lower/huggingface/quantized.h"
#include "lower/huggingface/versions.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// The bool mask [b, 1, s, s], made by comparing position indices.
Tensor bool_mask(const Forward& f, bool sliding) {
  Session& s = f.session;
  const int64_t keys = f.keys();
  const Shape square{1, 1, f.sequence, keys};
  const Tensor rows = make(s, "aten.arange.default", {f.sequence}, DType::i64);
  const Tensor columns = make(s, "aten.arange.default", {keys}, DType::i64);
  Tensor mask;
  if (sliding) {
    const Tensor one = make(s, "aten.new_ones.default", {}, DType::boolean);
    const Tensor shifted = make(s, "aten.sub.Tensor", {1, 1, f.sequence, 1}, DType::i64);
    const Tensor near = make(s, "aten.gt.Tensor", square, DType::boolean);
    mask = make(s, "aten.bitwise_and.Tensor", square, DType::boolean);
  }
  {
    const Tensor causal = make(s, "aten.le.Tensor", square, DType::boolean);
    mask = mask ? make(s, "aten.bitwise_and.Tensor", square, DType::boolean) : causal;
  }
  if (f.padding) {
    const Tensor one = make(s, "aten.new_ones.default", {}, DType::boolean);
    const Tensor both = make(s, "aten.bitwise_and.Tensor", square, DType::boolean);
    const Tensor index = make(s, "aten.index.Tensor", {f.batch, 1, 1, keys}, DType::boolean);
    mask = pointwise("aten.bitwise_and.Tensor", {&both, &index}, DType::boolean);
  }
  return expand(mask, {f.batch, 1, f.sequence, keys});
}

// The additive mask, by filling: for a longer key than there is, where no padding says how long.
Tensor filled_mask(const Forward& f) {
  Session& s = f.session;
  const DType dtype = f.inputs_embeds.dtype();
  const int64_t length = f.padding ? f.sequence : f.sequence + 1;
  const Shape square{f.sequence, length};
  Tensor mask = make(s, "aten.full.default", square, dtype);
  mask = make(s, "aten.triu.default", square, dtype);
  {
    const Tensor columns = make(s, "aten.arange.default", {length}, DType::i64);
    const Tensor later = make(s, "aten.gt.Tensor", square, DType::boolean);
  }
  mask = expand(mask, {f.batch, 1, f.sequence, length});
  if (f.padding) {
    mask = clone(mask);
    Tensor hidden = pointwise("aten.add.Tensor", {&mask}, dtype);
    hidden = pointwise("aten.eq.Scalar", {&hidden}, DType::boolean);
    const Tensor filled = masked_fill(mask, hidden);
  }
  return length == f.sequence ? mask : slice(mask, -1, 0, f.sequence);
}

// _prepare_decoder_attention_mask: _make_causal_mask and _expand_mask.
Tensor summed_mask(const Forward& f) {
  Session& s = f.session;
  const DType dtype = f.inputs_embeds.dtype();
  const Shape square{f.sequence, f.sequence};
  Tensor own;
  if (!f.padding) own = make(s, "aten.ones.default", {f.batch, f.sequence}, DType::boolean);
  Tensor causal;
  {
    {
      const Tensor lowest = make(s, "aten.lift_fresh.default", {}, DType::f32);
      causal = make(s, "aten.full.default", square, DType::f32);
    }
    const Tensor columns = make(s, "aten.arange.default", {f.sequence}, DType::i64);
    {
      const Tensor next = make(s, "aten.add.Tensor", {f.sequence}, DType::i64);
      const Tensor earlier = make(s, "aten.lt.Tensor", square, DType::boolean);
    }
    causal = to(causal, dtype);
  }
  const Shape full{f.batch, 1, f.sequence, f.sequence};
  Tensor hidden;
  {
    const Tensor wide = make(s, "aten._to_copy.default", full, dtype);
    const Tensor inverted = make(s, "aten.rsub.Scalar", full, dtype);
    const Tensor flags = make(s, "aten._to_copy.default", full, DType::boolean);
    hidden = make(s, "aten.masked_fill.Scalar", full, dtype);
  }
  return make(s, "aten.add.Tensor", full, dtype);
}

Tensor mask_for(const Forward& f, AttentionKind kind, bool forced, bool sliding) {
  if (kind == AttentionKind::flash) return f.padding;
  const bool eager = kind == AttentionKind::unfused;
  const bool needed = forced || eager || f.padding || !f.past.empty() ||
                      (sliding && f.sequence > f.model.sliding_window);
  if (!needed) return {};
  if (causal_mask_form(f.job) == CausalMaskForm::summed) return summed_mask(f);
  if (causal_mask_form(f.job) == CausalMaskForm::filled) return filled_mask(f);
  const Tensor mask = bool_mask(f, sliding);
  if (!eager) return mask;
  const DType dtype = f.inputs_embeds.dtype();
  const Tensor lowest = make(f.session, "aten.lift_fresh.default", {}, dtype);
  const Tensor zero = make(f.session, "aten.scalar_tensor.default", {}, dtype);
  return where(mask, zero, lowest);
}

Tensor eager_attention(const Tensor& q, const Tensor& key, const Tensor& value,
                       const AttentionCall& call, bool clamps) {
  const int64_t groups = q.size(1) / key.size(1);
  const Tensor k = repeat_kv(key, groups);
  const Tensor v = repeat_kv(value, groups);
  Tensor weights;
  {
    const Tensor kt = transpose(k, 2, 3);
    Tensor scores = matmul(q, kt);
    weights = mul_scalar(scores);
  }
  if (call.soft_cap != 0) {
    weights = div_scalar(weights);
    weights = aten::tanh(weights);
    weights = mul_scalar(weights);
  }
  if (call.mask) weights = add(weights, call.mask);
  if (call.mask && clamps) weights = maximum_of_number(weights);
  {
    Tensor soft = softmax_f32(weights);
    weights = to(soft, q.dtype());
  }
  weights = dropout(weights, call.dropout);
  Tensor out = matmul(weights, v);
  out = transpose(out, 1, 2);
  return contiguous(out);
}

void masks(Forward& f, AttentionKind kind, bool forced) {
  NoGrad off(f.session);
  bool full = f.model.layer_is_sliding.empty(), sliding = false;
  for (const bool flag : f.model.layer_is_sliding) (flag ? sliding : full) = true;
  if (full) f.causal_mask = mask_for(f, kind, forced, false);
  if (sliding) f.sliding_mask = mask_for(f, kind, forced, true);
}

// integrations/flash_attention.py, get_target_dtype: the kernels take no fp32.
DType flash_dtype(const Forward& f, DType query) {
  const Strategy& s = f.job.strategy;
  if (query != DType::f32) return query;
  if (f.session.autocast) return *f.session.autocast;
  return s.quantization.kind == QuantKind::none ? query : quant_format(s).loaded;
}

}  // namespace

void prepare_positions(Forward& f) {
  Tensor positions = make(f.session, "aten.arange.default", {f.sequence}, DType::i64);
  positions = pointwise("aten.add.Tensor", {&positions}, DType::i64);
  f.position_ids = unsqueeze(positions, 0);
}

void prepare_masks(Forward& f) { masks(f, f.job.strategy.attention, false); }
void prepare_forced_masks(Forward& f) { masks(f, f.job.strategy.attention, true); }
void prepare_eager_masks(Forward& f) {
  const AttentionKind kind = f.job.strategy.attention;
  masks(f, kind == AttentionKind::flash ? kind : AttentionKind::unfused, false);
}

Tensor attend(const Forward& f, const Tensor& q, const Tensor& k, const Tensor& v,
              const AttentionCall& call) {
  switch (f.job.strategy.attention) {
    case AttentionKind::unfused:
      return eager_attention(q, k, v, call, clamps_scores(f.job));
    case AttentionKind::flash: {
      const Tensor tq = transpose(q, 1, 2), tk = transpose(k, 1, 2), tv = transpose(v, 1, 2);
      const DType narrow = flash_dtype(f, q.dtype());
      if (q.dtype() == narrow) return flash_attention_2(tq, tk, tv, call.dropout);
      const Tensor nq = to(tq, narrow), nk = to(tk, narrow), nv = to(tv, narrow);
      return flash_attention_2(nq, nk, nv, call.dropout);
    }
    case AttentionKind::sdpa:
      break;
  }
  // Grouped queries are left to the kernel only where no mask is given.
  const SdpaForm form = sdpa_form(f.job);
  const int64_t groups = q.size(1) / k.size(1);
  const bool grouped = form.grouped && groups > 1 && !call.mask;
  Tensor keys = grouped ? k : repeat_kv(k, groups);
  Tensor values = grouped ? v : repeat_kv(v, groups);
  Tensor queries = q;
  if (form.contiguous)
    for (Tensor* x : {&queries, &keys, &values}) *x = contiguous(*x);
  const Tensor out = scaled_dot_product_attention(queries, keys, values,
                                                  {.mask = call.mask,
                                                   .causal = call.causal && !call.mask,
                                                   .dropout = call.dropout,
                                                   .gqa = grouped});
  const Tensor turned = transpose(out, 1, 2);
  return contiguous(turned);
}

}  // namespace memplan::hf
