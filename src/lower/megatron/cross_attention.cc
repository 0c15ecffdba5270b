// CrossAttention (core/transformer/attention.py, 0.18): queries from the decoder's stream, keys and
// values, head by head in one matrix, from the encoder's output.
#include "lower/megatron/t5_blocks.h"
#include "lower/megatron/walk.h"
#include "ops/aten/ops.h"

namespace memplan::megatron {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

Tensor cross_attention(Walk& w, const Params& p, const Tensor& hidden) {
  const int64_t heads = w.model().heads / w.group.size, width = w.model().head_dim;
  const auto heads_of = [&](const Tensor& x, std::string_view name, int64_t parts) {
    const Tensor y = mcore::column_linear(x, p.get(name), p.find(name, "bias"), w.group);
    return view(y, {y.size(0), y.size(1), heads, parts * width});
  };
  const Tensor x = mcore::norm(hidden, p.norm(kCrossNorm));
  const std::vector<Tensor> kv = split(heads_of(w.memory, kCrossKeyValue, 2), {width, width});
  const Tensor q = heads_of(x, kCrossQuery, 1);
  w.attention.padded = true;
  return core_attention(w, q, kv[0], kv[1]);
}

}  // namespace memplan::megatron
