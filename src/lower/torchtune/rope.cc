// torchtune/modules/position_embeddings.py, models/llama3_1/_position_embeddings.py and
// models/qwen2/_positional_embeddings.py.
#include "lower/torchtune/torchtune.h"

namespace memplan::torchtune {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;
using hf::Forward;

namespace {

bool is_qwen(const ModelSpec& model) { return model.family == "qwen2"; }

// Of one position: pairs of cosine and sine; Qwen2's, both for the whole head.
Shape cache_sizes(const ModelSpec& model, int64_t positions) {
  if (is_qwen(model)) return {positions, checked_mul(2, model.head_dim)};
  return {positions, model.head_dim / 2, 2};
}

// cache[:seq_len], or cache[input_pos], a tensor of its own: [b or 1, s, 1, …]
Tensor rows_of_cache(const Forward& f) {
  const bool packed = static_cast<bool>(f.position_ids);
  const int64_t b = packed ? f.batch : 1;
  Shape sizes = cache_sizes(f.model, checked_mul(b, f.sequence));
  const Tensor rows = packed ? make(f.session, "aten.index.Tensor", sizes, DType::f32) : f.cos;
  if (is_qwen(f.model)) return view(rows, {b, f.sequence, 1, sizes[1]});
  return view(rows, {b, f.sequence, 1, sizes[1], 2});
}

// Qwen2RotaryPositionalEmbeddings
Tensor rotate_halves(const Forward& f, const Tensor& x) {
  const int64_t d = x.size(3), half = d / 2;
  const Tensor rope_cache = rows_of_cache(f);
  const Tensor cos = to(slice(rope_cache, -1, 0, d), x.dtype());
  const Tensor sin = to(slice(rope_cache, -1, d, d), x.dtype());
  const Tensor x1 = slice(x, -1, 0, half);
  const Tensor x2 = slice(x, -1, half, half);
  Tensor rotated;
  {
    const Tensor minus = neg(x2);
    const Tensor parts[] = {minus, x1};
    rotated = cat(parts);
  }
  const Tensor straight = mul(x, cos);
  const Tensor turned = mul(rotated, sin);
  return add(straight, turned);
}

// RotaryPositionalEmbeddings, Llama3ScaledRoPE
Tensor rotate_pairs(const Forward& f, const Tensor& x) {
  const int64_t b = x.size(0), s = x.size(1), heads = x.size(2), half = x.size(3) / 2;
  const auto part = [](const Tensor& pairs) { return select(pairs, -1); };
  Tensor cache = rows_of_cache(f);
  const Tensor xshaped = view(to(x, DType::f32), {b, s, heads, half, 2});
  Tensor x_out;
  {
    Tensor first, second;
    {
      const Tensor straight = mul(part(xshaped), part(cache));
      const Tensor turned = mul(part(xshaped), part(cache));
      first = sub(straight, turned);
    }
    {
      const Tensor straight = mul(part(xshaped), part(cache));
      const Tensor turned = mul(part(xshaped), part(cache));
      second = add(straight, turned);
    }
    x_out = stack_last(first, second);
  }
  x_out = view(x_out, x.sizes());
  return to(x_out, x.dtype());
}

}  // namespace

int64_t rope_bytes(const ModelSpec& model) {
  const int64_t values =
      checked_add(cache_sizes(model, model.max_positions).elements(), model.head_dim / 2);
  return checked_mul(values, size_of(DType::f32));
}

Tensor rope_cache(const Forward& f) {
  return owned_elsewhere(f.session, cache_sizes(f.model, f.sequence), DType::f32);
}

Tensor apply_rope(const Forward& f, const Tensor& x) {
  return is_qwen(f.model) ? rotate_halves(f, x) : rotate_pairs(f, x);
}

}  // namespace memplan::torchtune
