// torch 2.14: torch/optim/adam.py, _adafactor.py, _muon.py and torch/nn/utils/clip_grad.py.
#include <algorithm>

#include "policy/step_programs.h"

namespace memplan {
namespace {

constexpr std::string_view kNorm = "aten.linalg_vector_norm.default";

/// `torch.tensor(1.0, device="cpu")`, added to step counters that live on the host.
void count_step(StepLedger& ledger, Backend backend) {
  if (backend == Backend::cpu) ledger.make("aten.lift_fresh.default", 4);
}

bool factored(const StepParam& param) { return param.dims > 1; }
int64_t size(const StepParam& param) { return size_of(param.dtype); }

/// `row_var`, `col_var` and the mean of `row_var` over the rows.
int64_t row_bytes(const StepParam& p) { return checked_mul(elements(p, 0, p.dims - 1), size(p)); }
int64_t column_bytes(const StepParam& p) {
  return product({elements(p, 0, p.dims - 2), p.shape[static_cast<size_t>(p.dims - 1)], size(p)});
}
int64_t mean_bytes(const StepParam& p) { return checked_mul(elements(p, 0, p.dims - 2), size(p)); }
std::string_view outer_product(const StepParam& p) {
  return p.dims == 2 ? "aten.mm.default" : "aten.bmm.default";
}

}  // namespace

void clip_flat_gradients(StepLedger& ledger, StepParams params) {
  constexpr int64_t kScalar = 4;
  const int64_t tensors = total(params, [](const StepParam&) { return int64_t{1}; });
  Value norm;
  {
    const Value norms = ledger.make("aten.linalg_vector_norm.default", tensors * kScalar);
    const Value stack = ledger.make("aten.stack.default", tensors * kScalar);
    norm = ledger.make("aten.linalg_vector_norm.default", kScalar);
  }
  for (int i = 0; i < 3; ++i) norm = ledger.make("aten.pow.Tensor_Scalar", kScalar);
}

void clip_grad_norm(StepLedger& ledger, StepParams params, Backend backend, bool sharded) {
  if (params.empty()) return;
  // Several dtypes are stacked in the one all fit into: fp32.
  const int64_t tensors = total(params, [](const StepParam&) { return int64_t{1}; });
  const bool mixed = std::any_of(params.begin(), params.end(),
                                 [&](const StepParam& p) { return p.dtype != params[0].dtype; });
  const int64_t scalar = mixed ? 4 : size(params[0]);

  Value total_norm;
  {
    std::vector<Value> norms;
    for (const auto& group : by_dtype(params)) {
      norms.push_back(ledger.make("aten._foreach_norm.Scalar", total(group, size)));
      if (backend == Backend::cuda) {
        // A partial sum for each chunk of the longest tensor, for every tensor, while it runs:
        // aten/src/ATen/native/cuda/ForeachReduceOp.cu.
        constexpr int64_t kChunk = 65536;
        int64_t chunks = 0, count = 0;
        for (const StepParam& p : group) {
          chunks = std::max(chunks, ceil_div(elements(p), kChunk));
          count = checked_add(count, p.count);
        }
        ledger.make("aten._foreach_norm.Scalar", product({count, chunks, 4}));
      }
    }
    const int64_t each = checked_mul(tensors, scalar);
    const Value stack = ledger.make("aten.stack.default", each);
    Value whole;
    if (sharded) {
      // torch/distributed/tensor/_ops/_math_ops.py _NormPartial: powers are added up
      const Value powers = ledger.make("aten.pow.Tensor_Scalar", each);
      const Value summed = ledger.make("_c10d_functional.all_reduce.default", each);
      // The CPU's tracers see a tensor of its own where CUDA hands the same one on.
      if (backend == Backend::cpu) ledger.make("_c10d_functional.wait_tensor.default", each);
      whole = ledger.make("aten.pow.Tensor_Scalar", each);
    }
    total_norm = ledger.make(kNorm, scalar);
  }
  const Value guarded = ledger.make("aten.add.Tensor", scalar);
  const Value reciprocal = ledger.make("aten.reciprocal.default", scalar);
  ledger.make("aten.mul.Tensor", scalar);  // clamped and multiplied in place: lower than this
}

// adam.py _multi_tensor_adam without weight decay in the gradient and without amsgrad.
// 2.0 adds eps out of place.
void adam_foreach(StepLedger& ledger, StepParams params, Backend backend, Version torch) {
  Value exp_avg_sq_sqrt, denom;  // of the dtype before, until the next has made its own
  for (const auto& group : by_dtype(params)) {
    count_step(ledger, backend);
    exp_avg_sq_sqrt = ledger.make("aten._foreach_sqrt.default", total(group, bytes));
    if (torch < Version{2, 1, 0})
      denom = ledger.make("aten._foreach_add.Scalar", total(group, bytes));
  }
}

// adam.py _single_tensor_adam.
void adam_forloop(StepLedger& ledger, StepParams params) {
  Value denom;
  in_order(params, [&](const StepParam& p) {
    const Value root = ledger.make("aten.sqrt.default", bytes(p));
    denom = ledger.make("aten.div.Tensor", bytes(p));
  });
}

// _adafactor.py _multi_tensor_adafactor.
void adafactor_foreach(StepLedger& ledger, StepParams params, Backend backend) {
  Value var_estimates, updates;
  const auto group_step = [&](const std::vector<StepParam>& group) {
    if (group.empty()) return;
    count_step(ledger, backend);
    ledger.make(kNorm, size(group[0]));  // of each parameter, one at a time
    if (factored(group[0])) {
      ledger.make(kNorm, total(group, row_bytes));
      ledger.make(kNorm, total(group, column_bytes));
      var_estimates = ledger.make(outer_product(group.back()), total(group, bytes));
      ledger.make("aten.mean.dim", total(group, mean_bytes));
    } else {
      ledger.make("aten._foreach_mul.List", total(group, bytes));
      var_estimates = ledger.make("aten.clone.default", total(group, bytes));
    }
    updates = var_estimates;
    ledger.make(kNorm, size(group[0]));
  };
  for (const auto& group : by_dtype(params)) {
    std::vector<StepParam> matrices, vectors;
    for (const StepParam& p : group) (factored(p) ? matrices : vectors).push_back(p);
    const bool matrices_first = factored(group[0]);
    group_step(matrices_first ? matrices : vectors);
    group_step(matrices_first ? vectors : matrices);
  }
}

// _adafactor.py _single_tensor_adafactor.
void adafactor_forloop(StepLedger& ledger, StepParams params) {
  Value row_mean, col_mean, grad_squared, var_estimate, update;
  in_order(params, [&](const StepParam& p) {
    ledger.make(kNorm, size(p));
    if (factored(p)) {
      row_mean = ledger.make(kNorm, row_bytes(p));
      col_mean = ledger.make(kNorm, column_bytes(p));
      var_estimate = ledger.make(outer_product(p), bytes(p));
      ledger.make("aten.mean.dim", mean_bytes(p));
    } else {
      grad_squared = ledger.make("aten.mul.Tensor", bytes(p));
      var_estimate = ledger.make("aten.clone.default", bytes(p));
    }
    update = var_estimate;
    ledger.make(kNorm, size(p));
  });
}

// _muon.py _single_tensor_muon with Nesterov momentum, and _zeropower_via_newtonschulz.
void muon(StepLedger& ledger, StepParams matrices) {
  constexpr int kSteps = 5;  // DEFAULT_NS_STEPS
  constexpr int64_t kSize = size_of(DType::bf16);
  Value update;
  in_order(matrices, [&](const StepParam& p) {
    update = ledger.make("aten.lerp.Scalar", bytes(p));
    const int64_t all = checked_mul(elements(p), kSize);
    const int64_t shorter = std::min(p.shape[0], p.shape[1]);
    const int64_t gram = product({shorter, shorter, kSize});

    Value ortho_grad = update, gram_matrix, gram_update;
    if (p.dtype != DType::bf16) ortho_grad = ledger.make("aten._to_copy.default", all);
    {
      const Value norm = ledger.make(kNorm, kSize);
      ledger.make("aten.clamp.default", kSize);
    }
    for (int i = 0; i < kSteps; ++i) {
      gram_matrix = ledger.make("aten.mm.default", gram);
      gram_update = ledger.make("aten.addmm.default", gram);
      ortho_grad = ledger.make("aten.addmm.default", all);
    }
    update = ortho_grad;
  });
}

}  // namespace memplan
