// Optimizers of other packages: lion-pytorch 0.2.5, transformers 5.12, galore-torch 1.0,
// lomo-optim 0.1.1.
#include <algorithm>

#include "policy/step_programs.h"

namespace memplan {
namespace {

constexpr std::string_view kNorm = "aten.linalg_vector_norm.default";
constexpr int64_t kFloat = size_of(DType::f32);

bool half(const StepParam& p) { return p.dtype != DType::f32; }
int64_t float_bytes(const StepParam& p) { return checked_mul(elements(p), kFloat); }

/// `update = grad**2 + eps`.
Value squared(StepLedger& ledger, const StepParam& p) {
  const Value square = ledger.make("aten.pow.Tensor_Scalar", float_bytes(p));
  return ledger.make("aten.add.Tensor", float_bytes(p));
}

/// Adafactor's second moment of one parameter, as transformers and LOMO took it from fairseq:
/// `update` holds the squared gradient before and the scaled gradient after.
void second_moment(StepLedger& ledger, const StepParam& p, Value& update) {
  if (p.dims < 2) {
    update = ledger.make("aten.rsqrt.default", float_bytes(p));
    return;
  }
  const int64_t matrices = checked_mul(elements(p, 0, p.dims - 2), kFloat);
  const int64_t rows = checked_mul(elements(p, 0, p.dims - 1), kFloat);
  const int64_t columns = checked_mul(matrices, p.shape[static_cast<size_t>(p.dims - 1)]);
  ledger.make("aten.mean.dim", rows);
  ledger.make("aten.mean.dim", columns);
  // _approx_sq_grad
  Value row_mean = ledger.make("aten.mean.dim", matrices);
  const Value r_factor = ledger.make("aten.div.Tensor", rows);
  row_mean = {};
  const Value c_factor = ledger.make("aten.rsqrt.default", columns);
  update = ledger.make("aten.mul.Tensor", float_bytes(p));
}

/// `update.div_((rms(update) / clip_threshold).clamp_(min=1.0))`.
void clip_by_rms(StepLedger& ledger) {
  Value norm = ledger.make(kNorm, kFloat);
  const Value rms = ledger.make("aten.div.Tensor", kFloat);
  norm = {};
  ledger.make("aten.div.Tensor", kFloat);
}

}  // namespace

// lion_pytorch/lion_pytorch.py update_fn, without Triton.
void lion(StepLedger& ledger, StepParams params) {
  in_order(params, [&](const StepParam& p) {
    const Value copy = ledger.make("aten.clone.default", bytes(p));
    ledger.make("aten.add.Tensor", bytes(p));
  });
}

// transformers/optimization.py Adafactor.step with its defaults: relative step, scaled by the
// parameter's root mean square, no first moment.
void adafactor_transformers(StepLedger& ledger, StepParams params) {
  Value grad, p_data_fp32, update, lr;
  in_order(params, [&](const StepParam& p) {
    grad = {};
    if (half(p)) grad = ledger.make("aten._to_copy.default", float_bytes(p));
    p_data_fp32 = {};
    if (half(p)) p_data_fp32 = ledger.make("aten._to_copy.default", float_bytes(p));
    {
      const Value old_rms = ledger.found(kFloat);
      const Value norm = ledger.make(kNorm, kFloat);
      ledger.keep(ledger.make("aten.div.Tensor", kFloat));
    }
    ledger.make("aten.gt.Scalar", 1);
    lr = ledger.make("aten.mul.Tensor", kFloat);
    update = squared(ledger, p);
    second_moment(ledger, p, update);
    clip_by_rms(ledger);
    ledger.make("aten.neg.default", float_bytes(p));
  });
}

// galore_torch/adamw.py GaLoreAdamW.step and galore_projector.py, type "std", in a step that renews
// the projectors. `params`: those that stay whole, then the low-rank ones.
void galore(StepLedger& ledger, StepParams params, int64_t rank) {
  Value grad, denom, norm_grad;
  in_order(params, [&](const StepParam& p) {
    grad = {};
    const bool low = takes(OptimizerKind::galore, static_cast<size_t>(p.dims), p.hidden);
    int64_t moment = bytes(p);
    if (low) {
      const int64_t m = p.shape[0], n = p.shape[1], k = std::min(m, n), r = std::min(rank, k);
      moment = product({std::max(m, n), r, size_of(p.dtype)});
      const bool right = m >= n;
      Value projector;
      // What pytorch_state says of the one from before.
      Value old = ledger.found(product({k, half(p) ? r : k, size_of(p.dtype)}));
      {
        Value matrix;
        if (half(p)) matrix = ledger.make("aten._to_copy.default", float_bytes(p));
        constexpr std::string_view kSvd = "aten._linalg_svd.default";
        const Value s = ledger.make(kSvd, checked_mul(k, kFloat));
        const Value u = ledger.make(kSvd, product({m, k, kFloat}));
        const Value vh = ledger.make(kSvd, product({k, n, kFloat}));
        Value other;  // the factor that is not kept, times the singular values
        {
          const Value diagonal = ledger.make("aten.diag_embed.default", product({r, r, kFloat}));
          other = ledger.make("aten.mm.default", product({right ? m : n, r, kFloat}));
        }
        projector = right ? vh : u;
        if (half(p))
          projector = ledger.make("aten._to_copy.default", product({k, r, size_of(p.dtype)}));
      }
      old = {};
      ledger.keep(projector);
      grad = ledger.make("aten.mm.default", moment);
    }
    denom = ledger.make("aten.sqrt.default", moment);
    norm_grad = ledger.make("aten.div.Tensor", moment);
    if (low) {
      const Value full_rank = ledger.make("aten.mm.default", bytes(p));
      norm_grad = ledger.make("aten.mul.Tensor", bytes(p));
    }
  });
}

// lomo_optim/lomo.py fuse_update.
void lomo(StepLedger& ledger, const StepParam& p) {
  if (!half(p)) return;  // `.to(torch.float32)` of fp32 is itself
  Value grad = ledger.found(bytes(p));
  const Value grad_fp32 = ledger.make("aten._to_copy.default", float_bytes(p));
  grad = {};
  ledger.make("aten._to_copy.default", float_bytes(p));
}

// lomo_optim/adalomo.py fuse_update.
void adalomo(StepLedger& ledger, const StepParam& p) {
  Value grad = ledger.found(bytes(p)), grad_fp32 = grad, p_fp32, update;
  if (half(p)) grad_fp32 = ledger.make("aten._to_copy.default", float_bytes(p));
  grad = {};
  update = squared(ledger, p);
  second_moment(ledger, p, update);
  clip_by_rms(ledger);
  if (half(p)) p_fp32 = ledger.make("aten._to_copy.default", float_bytes(p));
}

}  // namespace memplan
