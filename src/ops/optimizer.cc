#include "ops/optimizer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "memplan/error.h"

namespace memplan {
namespace {

constexpr int64_t kScalar = 4;  // a step counter: fp32 (torch/optim/optimizer.py _get_scalar_dtype)

int64_t elements_of(std::span<const int64_t> shape) {
  int64_t elements = 1;
  for (int64_t size : shape) elements = checked_mul(elements, size);
  return elements;
}

/// Elements of a row and a column sum over the last two dimensions; a vector keeps all of itself.
int64_t factored(std::span<const int64_t> shape) {
  const int64_t elements = elements_of(shape);
  if (shape.size() < 2) return elements;
  const int64_t rows = shape[shape.size() - 2], columns = shape[shape.size() - 1];
  const int64_t matrices = rows * columns == 0 ? 0 : elements / (rows * columns);
  return checked_mul(matrices, checked_add(rows, columns));
}

/// Adam's rule. `counters`: step counters are tensors (torch.optim), not Python's numbers.
OptimizerState adam(int64_t elements, int64_t size, bool counters, bool fused) {
  OptimizerState out;
  out.moments = Bytes(product({elements, 2, size}));
  // torch/optim/adam.py _init_group: beside the parameter if fused, on the host otherwise.
  if (counters) (fused ? out.scalars : out.host_scalars) = Bytes(kScalar);
  return out;
}

// bitsandbytes 0.50: optim/optimizer.py init_state and get_state_buffer. Blocks had 2048 elements
// before 0.44.
constexpr int64_t kSmallest8bit = 4096;  // min_8bit_size: below, fp32 moments
constexpr int64_t kBlock8bit = 256;
constexpr int64_t kSmallestPaged = 100'000;

OptimizerState bitsandbytes(int64_t elements, int64_t moments, bool eight_bits, bool paged) {
  const bool quantized = eight_bits && elements >= kSmallest8bit;
  OptimizerState out;
  const Bytes states(product({elements, moments, quantized ? 1 : 4}));
  (paged && elements >= kSmallestPaged ? out.managed : out.moments) = states;
  if (quantized) out.moments += Bytes(product({ceil_div(elements, kBlock8bit), moments, 4}));
  return out;
}

// torchao 0.18: optim/adam.py _new_buffer, subclass_8bit.py and subclass_4bit.py `zeros`. Each
// moment of each parameter has its own table of values.
OptimizerState torchao(int64_t elements, int64_t bits, int64_t block, DType dtype) {
  constexpr int64_t kSmallest = 4096;
  OptimizerState out;
  if (elements < kSmallest || elements % block != 0) {
    out.moments = Bytes(product({elements, 2, size_of(dtype)}));
  } else {
    const int64_t table = 4 * (int64_t{1} << bits);
    const int64_t codes = elements / (8 / bits), scales = 4 * (elements / block);
    out.moments = 2 * Bytes(checked_add(checked_add(codes, scales), table));
  }
  out.host_scalars = Bytes(kScalar);
  return out;
}

// transformers' training_args.py: TrainingArguments.optim is adamw_torch_fused from torch 2.8 on.
bool trainer_is_fused(const Strategy& s) {
  return runs_in_trainer(s.framework) && s.optimizer == OptimizerKind::adamw &&
         s.torch >= Version{2, 8, 0};
}

struct LowRank {
  int64_t shorter, longer, rank;
};
LowRank low_rank(std::span<const int64_t> shape, int64_t rank) {
  const int64_t shorter = std::min(shape[0], shape[1]), longer = std::max(shape[0], shape[1]);
  return {shorter, longer, std::min(rank, shorter)};
}

}  // namespace

bool takes(OptimizerKind kind, size_t dims, bool hidden) {
  if (kind != OptimizerKind::muon && kind != OptimizerKind::galore) return true;
  return dims == 2 && hidden;
}

bool updates_in_backward(OptimizerKind kind) {
  return kind == OptimizerKind::lomo || kind == OptimizerKind::adalomo;
}

bool updates_in_backward(const Strategy& strategy) {
  return strategy.optimizer_in_backward || updates_in_backward(strategy.optimizer);
}

// lomo-optim 0.1.1, AdaLomo.__init__
bool keeps_state_of_frozen(OptimizerKind kind) { return kind == OptimizerKind::adalomo; }

bool state_depends_on_shape(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::adafactor:
    case OptimizerKind::adafactor_transformers:
    case OptimizerKind::muon:
    case OptimizerKind::galore:
    case OptimizerKind::adalomo:
      return true;
    default:
      return false;
  }
}

OptimizerSetup optimizer_setup(const Strategy& strategy, Backend backend) {
  OptimizerSetup out{strategy.optimizer, strategy.optimizer_impl, backend, strategy.galore_rank};
  const bool automatic = out.impl == OptimizerImpl::automatic;
  bool possible = true;
  switch (out.kind) {
    case OptimizerKind::adamw:
    case OptimizerKind::adam:
    case OptimizerKind::sgd:
    case OptimizerKind::sgd_momentum:
    case OptimizerKind::muon:  // its AdamW
      // torch/optim/optimizer.py _default_to_fused_or_foreach: foreach where the device has kernels
      // for it (torch/utils/_foreach_utils.py: the CPU has none); fused is never chosen.
      if (automatic && backend == Backend::cuda)
        out.impl = trainer_is_fused(strategy) ? OptimizerImpl::fused : OptimizerImpl::foreach_;
      break;
    case OptimizerKind::adafactor:  // foreach only where asked for: torch/optim/_adafactor.py
      possible = out.impl != OptimizerImpl::fused;
      break;
    default:  // one implementation each, parameter by parameter
      possible = automatic || out.impl == OptimizerImpl::forloop;
  }
  if (!possible)
    throw Error(ErrorKind::bad_input, "--optimizer-impl " + std::string(to_string(out.impl)),
                "optimizer '" + std::string(to_string(out.kind)) + "' has no such implementation",
                "leave it to the optimizer: auto");
  if (out.impl == OptimizerImpl::automatic) out.impl = OptimizerImpl::forloop;
  return out;
}

OptimizerState pytorch_state(const OptimizerSetup& setup, std::span<const int64_t> shape,
                             DType dtype, bool hidden) {
  const int64_t elements = elements_of(shape), size = size_of(dtype);
  const bool fused = setup.impl == OptimizerImpl::fused,
             own = takes(setup.kind, shape.size(), hidden);
  OptimizerState out;
  switch (setup.kind) {
    case OptimizerKind::adamw:
    case OptimizerKind::adam:
      out = adam(elements, size, true, fused);
      break;
    case OptimizerKind::sgd:
    case OptimizerKind::lomo:
    case OptimizerKind::none:
      break;
    case OptimizerKind::sgd_momentum:
    case OptimizerKind::lion:
      out.moments = Bytes(checked_mul(elements, size));
      break;
    case OptimizerKind::adafactor:  // torch/optim/_adafactor.py _init_group: the gradient's dtype
      out.moments = Bytes(checked_mul(factored(shape), size));
      out.host_scalars = Bytes(kScalar);
      break;
    case OptimizerKind::adafactor_transformers:  // transformers/optimization.py: state["RMS"] too
      out.moments = Bytes(checked_mul(factored(shape), 4));
      out.scalars = Bytes(kScalar);
      break;
    case OptimizerKind::adalomo:  // lomo-optim 0.1.1, adalomo.py
      out.moments = Bytes(checked_mul(factored(shape), 4));
      break;
    case OptimizerKind::adam8bit:
      out = bitsandbytes(elements, 2, true, false);
      break;
    case OptimizerKind::lion8bit:
      out = bitsandbytes(elements, 1, true, false);
      break;
    case OptimizerKind::paged_adamw:
      out = bitsandbytes(elements, 2, false, true);
      break;
    case OptimizerKind::paged_adamw8bit:
      out = bitsandbytes(elements, 2, true, true);
      break;
    case OptimizerKind::adamw8bit_torchao:
      out = torchao(elements, 8, 256, dtype);
      break;
    case OptimizerKind::adamw4bit_torchao:
      out = torchao(elements, 4, 128, dtype);
      break;
    case OptimizerKind::muon:  // torch/optim/_muon.py _init_group; no counter
      if (own)
        out.moments = Bytes(checked_mul(elements, size));
      else
        out = adam(elements, size, true, fused);
      break;
    case OptimizerKind::galore: {
      if (!own) {
        out = adam(elements, size, false, false);
        break;
      }
      // galore-torch 1.0, galore_projector.py, type "std". The projector is converted to the
      // gradient's dtype; in fp32 it stays a view of a whole square factor of the decomposition.
      const LowRank low = low_rank(shape, setup.rank);
      const int64_t projector =
          checked_mul(low.shorter, dtype == DType::f32 ? low.shorter : low.rank);
      const int64_t moments = product({2, low.longer, low.rank});
      out.moments = Bytes(checked_mul(checked_add(projector, moments), size));
      break;
    }
  }
  if (setup.backend == Backend::cpu) out.scalars += std::exchange(out.host_scalars, Bytes(0));
  return out;
}

Bytes optimizer_state(OptimizerKind kind, std::span<const int64_t> shape, DType dtype,
                      int64_t rank) {
  if (kind == OptimizerKind::adafactor) dtype = DType::f32;
  if (kind == OptimizerKind::galore && takes(kind, shape.size(), true)) {
    const LowRank low = low_rank(shape, rank);  // arXiv 2403.03507, table 1: m·r + 2·n·r elements
    const int64_t lines = checked_add(low.shorter, checked_mul(2, low.longer));
    return Bytes(product({lines, low.rank, size_of(dtype)}));
  }
  const OptimizerState state =
      pytorch_state({kind, OptimizerImpl::forloop, Backend::cuda, rank}, shape, dtype);
  return state.moments + state.managed;
}

Bytes shared_state(OptimizerKind kind) {
  constexpr int64_t kTable = 256 * 4;
  switch (kind) {
    case OptimizerKind::adam8bit:
    case OptimizerKind::paged_adamw8bit:
      return Bytes(2 * kTable);
    case OptimizerKind::lion8bit:
      return Bytes(kTable);
    default:
      return Bytes(0);
  }
}

}  // namespace memplan
