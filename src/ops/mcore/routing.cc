#include "ops/mcore/routing.h"

#include <algorithm>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::mcore {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

Shape rows_of(const Tensor& x, int64_t rows) {
  Shape sizes = x.sizes();
  sizes[0] = rows;
  return sizes;
}

// An operator that makes new rows of x's width, and whose backward makes the old ones anew.
Tensor moved(const Tensor& x, int64_t rows, std::string_view forward, std::string_view backward) {
  Tensor out = make(x.session(), forward, rows_of(x, rows), x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [backward, sizes = x.sizes()](Grads& g) {
      g.set(0, make(g.session(), backward, sizes, g.in().dtype()));
    });
  return out;
}

}  // namespace

Tensor row_map(Session& session, int64_t tokens, int64_t rows, int64_t experts, bool fused) {
  if (!fused) return make(session, "aten.masked_select.default", {rows}, DType::i64);
  const int64_t width = checked_add(checked_mul(2, experts), 1);
  return make(session, "make_row_id_map", {tokens, width}, DType::i32);
}

Tensor permute(const Tensor& x, int64_t rows, const Tensor& map) {
  if (map.dtype() == DType::i64) return index_select(x, map);
  Tensor out = make(x.session(), "permute_with_mask_map", rows_of(x, rows), x.dtype());
  if (!tracks(x)) return out;
  const Saved kept(map);
  record({&out}, {&x}, [kept, sizes = x.sizes()](Grads& g) {
    const Tensor read = kept.get();
    g.set(0, make(g.session(), "unpermute_with_mask_map", sizes, g.in().dtype()));
  });
  return out;
}

// Not fused: zeros.scatter_add_(0, index, x).
Tensor unpermute(const Tensor& x, int64_t tokens, const Tensor& map) {
  const bool fused = map.dtype() != DType::i64;
  const std::string_view forward = fused ? "unpermute_with_mask_map" : "aten.scatter_add_.default";
  Tensor out = make(x.session(), forward, rows_of(x, tokens), x.dtype());
  if (!tracks(x)) return out;
  const Saved kept(map);
  record({&out}, {&x}, [kept, fused, sizes = x.sizes()](Grads& g) {
    const Tensor read = kept.get();
    g.set(0, make(g.session(), fused ? "permute_with_mask_map" : "aten.gather.default", sizes,
                  g.in().dtype()));
  });
  return out;
}

Tensor all_to_all(const Tensor& x, int64_t received) {
  return moved(x, received, "c10d.all_to_all_single", "c10d.all_to_all_single");
}

Tensor sort_chunks(const Tensor& x) {
  return moved(x, x.size(0), "sort_chunks_by_idxs", "sort_chunks_by_idxs");
}

Tensor gather_rows(const Tensor& x, int64_t ranks, int64_t* buffer) {
  if (ranks == 1) return x;
  const int64_t rows = checked_mul(x.size(0), ranks);
  if (buffer == nullptr)
    return moved(x, rows, "c10d.all_gather_into_tensor", "c10d.reduce_scatter_tensor");
  *buffer = std::max(*buffer, checked_mul(x.bytes(), ranks));
  Tensor out = owned_elsewhere(x.session(), rows_of(x, rows), x.dtype());
  if (tracks(x))
    record({&out}, {&x}, [sizes = x.sizes()](Grads& g) {
      g.set(0, make(g.session(), "c10d.reduce_scatter_tensor", sizes, g.in().dtype()));
    });
  return out;
}

Tensor scatter_rows(const Tensor& x, int64_t ranks) {
  if (ranks == 1) return x;
  return moved(x, x.size(0) / ranks, "c10d.reduce_scatter_tensor", "c10d.all_gather_into_tensor");
}

Tensor router_linear(const Tensor& x, const Tensor& weight, DType dtype) {
  Tensor out = make(x.session(), "router_gating_linear", {x.size(0), weight.size(0)}, dtype);
  if (!tracks({&x, &weight})) return out;
  const Saved kept(x, ReadBy::kernel);
  record({&out}, {&x, &weight}, [kept, weight](Grads& g) {
    const Tensor input = kept.get();
    g.set(0, make(g.session(), "router_gating_linear backward", input.sizes(), input.dtype()));
    g.set(1, make(g.session(), "router_gating_linear backward", weight.sizes(), weight.dtype()));
  });
  return out;
}

Tensor scatter_columns(const Tensor& values, const Tensor& columns, const Shape& sizes) {
  Tensor out = make(values.session(), "aten.scatter.src", sizes, values.dtype());
  if (!tracks(values)) return out;
  const Saved index(columns);
  record({&out}, {&values}, [index](Grads& g) {
    const Tensor at = index.get();
    g.set(0, make(g.session(), "aten.gather.default", at.sizes(), g.in().dtype()));
  });
  return out;
}

Tensor fused_scores(const Tensor& logits) {
  Session& session = logits.session();
  const Tensor scores = allocate(session, logits.sizes(), DType::f32);
  Tensor out = make(session, "fused_topk_with_score_function", logits.sizes(), logits.dtype());
  if (!tracks(logits)) return out;
  const Saved kept(scores);
  record({&out}, {&logits}, [kept, dtype = logits.dtype()](Grads& g) {
    const Tensor read = kept.get();
    g.set(0, make(g.session(), "fused_topk_with_score_function_bwd", read.sizes(), dtype));
  });
  return out;
}

namespace {

// An operator that keeps what it reads and what it gives.
Tensor keeping_both(const Tensor& x, std::string_view op, const Shape& sizes) {
  Tensor out = make(x.session(), op, sizes, x.dtype());
  if (!tracks(x)) return out;
  const Saved input(x), result(out);
  record({&out}, {&x}, [input, result](Grads& g) {
    const Tensor read = input.get();
    const Tensor given = result.get();
    g.set(0, make(g.session(), "aten.mul.Tensor", read.sizes(), read.dtype()));
  });
  return out;
}

}  // namespace

Tensor sqrt_softplus(const Tensor& x) { return keeping_both(x, "aten.sqrt.default", x.sizes()); }

Tensor logsumexp(const Tensor& x) {
  Shape sizes = x.sizes();
  sizes.dims -= 1;
  return keeping_both(x, "aten.logsumexp.default", sizes);
}

Tensor grouped_linear(const Tensor& x, std::span<const Tensor> weights, const Group& group) {
  Session& session = x.session();
  Tensor out = make(session, "transformer_engine.general_grouped_gemm",
                    {x.size(0), weights.front().size(0)}, x.dtype());
  std::vector<Tensor> inputs{x};
  inputs.insert(inputs.end(), weights.begin(), weights.end());
  if (!tracks({&x, &weights.front()})) return out;
  const bool trained = weights.front().requires_grad();
  Saved kept;
  if (trained) kept = Saved(x, ReadBy::kernel);
  std::vector<Shape> sizes;
  for (const Tensor& weight : weights) sizes.push_back(weight.sizes());
  record(std::span(&out, 1), inputs,
         [kept, sizes, whole = x.sizes(), trained, fused = group.fused_wgrad,
          dtype = weights.front().dtype()](Grads& g) {
           Tensor input;
           if (trained) input = kept.get();
           g.set(0, make(g.session(), "transformer_engine.general_grouped_gemm", whole,
                         g.in().dtype()));
           if (fused || !trained) return;
           for (size_t i = 0; i < sizes.size(); ++i)
             g.set(static_cast<int>(i) + 1,
                   make(g.session(), "transformer_engine.general_grouped_gemm", sizes[i], dtype));
         });
  return out;
}

Tensor weighted_swiglu(const Tensor& x, const Tensor& probabilities) {
  Session& session = x.session();
  Tensor out = make(session, "weighted_swiglu", {x.size(0), x.size(1) / 2}, x.dtype());
  if (!tracks({&x, &probabilities})) return out;
  const Saved kept(x), weights(probabilities);
  record({&out}, {&x, &probabilities}, [kept, weights](Grads& g) {
    const Tensor input = kept.get();
    const Tensor p = weights.get();
    g.set(0, make(g.session(), "weighted_swiglu_back", input.sizes(), input.dtype()));
    g.set(1, make(g.session(), "weighted_swiglu_back", p.sizes(), p.dtype()));
  });
  return out;
}

}  // namespace memplan::mcore
