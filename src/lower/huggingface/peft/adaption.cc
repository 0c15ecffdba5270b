// LLaMA-Adapter: a gated attention to a trained prompt beside every adapted layer's own
// (adaption_prompt/layer.py, AdaptedAttention; utils.py, llama_compute_query_states).
#include <string>

#include "lower/huggingface/peft.h"

namespace memplan::hf {

using namespace aten;  // NOLINT

namespace {

// [1, n, heads · d] -> [b, q heads, n, d]
Tensor prompt_heads(const Forward& f, Tensor x) {
  const int64_t d = f.model.head_dim;
  x = view(x, {1, x.size(1), f.model.kv_heads, d});
  x = repeat(x, {f.batch, 1, 1, 1});
  x = transpose(x, 1, 2);
  return repeat_kv(x, f.model.heads / f.model.kv_heads);
}

}  // namespace

Tensor with_adaption_prompt(const Forward& f, const Params& p, const Tensor& hidden,
                            Tensor output) {
  if (f.job.strategy.peft.kind != PeftKind::adaption_prompt) return output;
  const AttentionRow& row = f.row.attention;
  const std::string prefix(row.o.substr(0, row.o.rfind('.') + 1));
  const Tensor prompt = p.find(prefix + "adaption_prompt");
  if (!prompt) return output;
  const Tensor key = linear(f, p, row.k, prompt);
  const Tensor value = linear(f, p, row.v, prompt);
  const Tensor k = prompt_heads(f, key);
  const Tensor v = prompt_heads(f, value);
  Tensor query;
  {
    const Tensor q = split_heads(linear(f, p, row.q, hidden), f.model.head_dim);
    const Tensor unused = split_heads(linear(f, p, row.v, hidden), f.model.head_dim);
    query = rotate(q, unsqueeze(f.cos, 1), unsqueeze(f.sin, 1));
  }
  const DType dtype = query.dtype();
  Tensor scores;
  {
    const Tensor kt = to(transpose(k, 2, 3), dtype);
    const Tensor product = matmul(query, kt);
    scores = div_scalar(product);
  }
  {
    Tensor soft = softmax_f32(scores);
    soft = to(soft, dtype);
    scores = mul(p.find(prefix + "adaption_gate"), soft);
  }
  Tensor adapted;
  {
    const Tensor product = matmul(scores, v);
    adapted = reshape(transpose(product, 1, 2), {f.batch, f.sequence, hidden.size(-1)});
  }
  adapted = linear(f, p, row.o, adapted);
  output = add(output, adapted);
  return to(output, dtype);
}

}  // namespace memplan::hf
