#include "ops/aten/unsloth.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "ops/aten/autograd.h"

namespace memplan::aten::unsloth {
namespace {

constexpr std::string_view kEmpty = "aten.empty.memory_format";
constexpr std::string_view kZeros = "aten.zeros.default";

// UNSLOTH_LOGPROB_CHUNK_GB, _MIN_LOGITS, UNSLOTH_FUSED_LINEAR_MAX_ROWS
constexpr int64_t kBudget = 2 * kGiB.count();
constexpr int64_t kLeastLogits = 512 * 151936, kLeastRows = 512, kMostRows = 4096;
// UNSLOTH_FUSED_LINEAR_BWD_TILE_MB, _BWD_ROWS, _SPLIT_COLS
constexpr int64_t kTileBytes = 256 * kMiB.count(), kTileRows = 4096, kSplit = 16384;

// Logits are fp32, products of 16-bit numbers too (torch.mm's out_dtype).
constexpr int64_t kLogit = 4;

int64_t power_below(int64_t n) {
  return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(n)));
}

bool is_half(DType dtype) { return dtype == DType::bf16 || dtype == DType::f16; }

// _flash_min_rows
int64_t least_tiled_rows(bool small_gpu) { return small_gpu ? 0 : 4096; }

// _ce_checked: targets that are none, which stay to the end.
Tensor out_of_bounds(const Tensor& targets) {
  Session& s = targets.session();
  const auto compare = [&](std::string_view op) {
    return make(s, op, targets.sizes(), DType::boolean);
  };
  const Tensor counted = compare("aten.ne.Scalar");
  Tensor either;
  {
    const Tensor below = compare("aten.lt.Scalar");
    const Tensor above = compare("aten.ge.Scalar");
    either = compare("aten.__or__.Tensor");
  }
  return compare("aten.__and__.Tensor");
}

Tensor is_fine(const Tensor& bad) {
  const Tensor any = make(bad.session(), "aten.any.default", {}, DType::boolean);
  return make(bad.session(), "aten.logical_not.default", {}, DType::boolean);
}

// _keep_index
Tensor kept_rows(const Tensor& targets, int64_t kept) {
  Session& s = targets.session();
  const auto compare = [&](std::string_view op) {
    return make(s, op, targets.sizes(), DType::boolean);
  };
  Tensor keep;
  {
    const Tensor below = compare("aten.ge.Scalar");
    const Tensor above = compare("aten.lt.Scalar");
    keep = compare("aten.__and__.Tensor");
  }
  compare("aten.ne.Scalar");
  const Tensor rows = make(s, "aten.nonzero.default", {kept, 1}, DType::i64);
  return squeeze(rows, 1);
}

// What one run of the operator has: its arguments and the local variables of _ce_impl.
struct Run {
  Session& session;
  Tensor x, weight, targets, index;
  Tensor grad_x, grad_weight;
  Tensor scale;
  Tensor narrow;  ///< the weight in the dtype of products
  Device device;
  int64_t budget = 0;

  int64_t kept() const { return index.size(0); }
  DType compute() const { return narrow.dtype(); }

  // _rows_of
  Tensor hidden(int64_t at, int64_t length) const {
    const Tensor rows = slice(index, 0, at, length);
    const Tensor picked = index_select(x, rows);
    return to(picked, compute());
  }
  Tensor wanted(int64_t at, int64_t length) const {
    const Tensor rows = slice(index, 0, at, length);
    return index_select(targets, rows);
  }

  // Logits of some rows at a time in one buffer, over which their gradient is written.
  // Returns the local variables, which stay to the operator's end.
  std::vector<Tensor> chunks() {
    const bool half = is_half(compute());
    const int64_t width = x.size(1), vocabulary = weight.size(0);
    const int64_t rows = chunk_rows(kept(), width, vocabulary, budget);
    const Tensor buffer =
        make(session, kEmpty, {rows, checked_mul(ceil_div(vocabulary, 8), 8)}, DType::f32);
    Tensor ratio;
    if (half && (!grad_weight || grad_weight.dtype() == DType::f32)) {
      Tensor whole;
      {
        const Tensor log = make(session, "aten.log2.default", {}, DType::f32);
        whole = make(session, "aten.round.default", {}, DType::f32);
      }
      const Tensor power = make(session, "aten.exp2.default", {}, DType::f32);
      whole.reset();
      ratio = make(session, "aten.div.Tensor", {}, DType::f32);
      scale = power;
    }
    Tensor h, t, lse, product;
    for (int64_t at = 0; at < kept(); at += rows) {
      const int64_t length = std::min(rows, kept() - at);
      h = hidden(at, length);
      t = wanted(at, length);
      session.ledger.note(half ? "aten.mm.dtype_out" : "aten.mm.out");
      lse = make(session, kEmpty, {length}, DType::f32);
      make(session, "aten.neg.default", {}, DType::f32);
      if (grad_x) {
        product =
            make(session, half ? "aten.mm.dtype" : "aten.mm.default", {length, width}, DType::f32);
        to(product, grad_x.dtype());
        session.ledger.note("aten.index_copy_.default");
      }
      if (grad_weight) session.ledger.note("aten.addmm_.default");
    }
    return {buffer, ratio, h, t, lse, product};
  }

  // _tiled_forward: the same over columns too, the gradient of some rows summed in fp32.
  std::vector<Tensor> tiles() const {
    const Tensor all_lse = make(session, kEmpty, {kept()}, DType::f32);
    const Tensor minus = make(session, "aten.neg.default", {}, DType::f32);
    const int64_t width = x.size(1), vocabulary = weight.size(0);
    const Tile size = tile(kept(), vocabulary, budget, device.small);
    const Tensor buffer = make(session, kEmpty, {size.rows, size.columns}, DType::f32);
    Tensor sum, highest;
    if (grad_x) {
      sum = make(session, kEmpty, {size.rows, width}, DType::f32);
      highest = make(session, kEmpty, {size.rows}, DType::f32);
    }
    Tensor h, t, part;
    for (int64_t at = 0; at < kept(); at += size.rows) {
      const int64_t length = std::min(size.rows, kept() - at);
      h = hidden(at, length);
      t = wanted(at, length);
      part = make(session, kEmpty, {8, ceil_div(vocabulary, kSplit), length}, DType::f32);
    }
    return {};
  }
};

// -(the rows' log-probabilities) in fp64, summed and divided
Tensor total(const Tensor& losses) {
  Session& s = losses.session();
  Tensor negative;
  {
    const Tensor wide = to(losses, DType::f64);
    negative = neg(wide);
  }
  const Tensor all = sum(negative);
  const Tensor divisor = make(s, "aten._to_copy.default", {}, DType::f64);
  const Tensor quotient = make(s, "aten.div.Tensor", {}, DType::f64);
  return to(quotient, DType::f32);
}

// fused_linear_scale_rows by the gradient of the loss: a new tensor.
Tensor scaled(const Tensor& gradient) {
  const Tensor factor = make(gradient.session(), "aten._to_copy.default", {}, DType::f32);
  return make(gradient.session(), kEmpty, gradient.sizes(), gradient.dtype());
}

}  // namespace

int64_t chunk_budget(std::optional<int64_t> free) {
  if (!free || *free <= 0) return kBudget;
  return std::max<int64_t>(std::min(kBudget, *free / 2), 1);
}

int64_t chunk_rows(int64_t rows, int64_t width, int64_t vocabulary, int64_t budget) {
  const int64_t least = std::clamp(power_below(kLeastLogits / vocabulary), kLeastRows, kMostRows);
  int64_t out = power_below(checked_mul(rows, width) / vocabulary);
  out = std::min(std::max(out, least), kMostRows);
  const int64_t cap = budget / checked_mul(vocabulary, kLogit);
  out = std::min(out, std::max<int64_t>(cap, 2));
  return std::max<int64_t>(std::min(out, rows), 1);
}

Tile tile(int64_t rows, int64_t vocabulary, int64_t budget, bool small_gpu) {
  const int64_t most = std::min(kTileBytes, budget);
  const int64_t height =
      std::max<int64_t>(std::min({kTileRows, rows, most / (kSplit * kLogit)}), 1);
  int64_t columns = std::max(most / (height * kLogit), kSplit);
  if (least_tiled_rows(small_gpu) == 0) columns = kSplit;
  columns = std::min(columns - columns % kSplit, ceil_div(vocabulary, kSplit) * kSplit);
  return {height, columns};
}

Tensor fused_linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets,
                                  int64_t kept, const Device& device) {
  Session& s = x.session();
  const bool tracked = tracks({&x, &weight});
  const Tensor scaling = make(s, "aten.ones.default", {}, DType::f32);
  Tensor out, grad_x, grad_weight;
  {
    NoGrad off(s);
    const Tensor bad = out_of_bounds(targets);
    const Tensor fine = is_fine(bad);
    const Tensor index = kept_rows(targets, kept);
    if (x.requires_grad()) grad_x = make(s, kZeros, x.sizes(), x.dtype());
    if (weight.requires_grad()) grad_weight = make(s, kZeros, weight.sizes(), weight.dtype());
    const Tensor none = make(s, kZeros, {}, DType::f32);
    std::optional<int64_t> free;
    if (device.capacity) free = *device.capacity - s.ledger.highest();
    const DType compute = s.autocast ? *s.autocast : weight.dtype();
    const Tensor narrow = to(weight, compute);
    Tensor scale = make(s, "aten.div.Tensor", {}, DType::f32);
    const Tensor losses = make(s, kEmpty, {kept}, DType::f32);
    Run run{.session = s,
            .x = x,
            .weight = weight,
            .targets = targets,
            .index = index,
            .grad_x = grad_x,
            .grad_weight = grad_weight,
            .scale = std::move(scale),
            .narrow = narrow,
            .device = device,
            .budget = chunk_budget(free)};
    const bool tiled = is_half(compute) && !grad_weight && device.compute_major >= 8 &&
                       kept >= least_tiled_rows(device.small) &&
                       ceil_div(weight.size(0), kSplit) > 2;
    const std::vector<Tensor> locals = tiled ? run.tiles() : run.chunks();
    out = total(losses);
  }
  if (!tracked) return out;
  Saved kx, kw;
  if (grad_x) kx = Saved(grad_x);
  if (grad_weight) kw = Saved(grad_weight);
  const Saved ks(scaling);
  const bool has_x = static_cast<bool>(grad_x), has_w = static_cast<bool>(grad_weight);
  record({&out}, {&x, &weight}, [=](Grads& g) {
    const Tensor scale = ks.get();
    const Tensor gx = has_x ? kx.get() : Tensor(), gw = has_w ? kw.get() : Tensor();
    Tensor factor;
    {
      const Tensor above = make(g.session(), "aten._to_copy.default", {}, DType::f64);
      const Tensor below = make(g.session(), "aten._to_copy.default", {}, DType::f64);
      factor = make(g.session(), "aten.div.Tensor", {}, DType::f64);
    }
    if (has_x) g.set(0, scaled(gx));
    if (has_w) g.set(1, scaled(gw));
  });
  return out;
}

}  // namespace memplan::aten::unsloth
