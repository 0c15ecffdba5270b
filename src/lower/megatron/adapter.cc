#include "lower/megatron/adapter.h"

#include <string>
#include <vector>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::megatron {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

std::string part(std::string_view module, std::string_view name) {
  return std::string(module) + ".adapter." + std::string(name);
}

// ParallelLinearAdapter runs Megatron-core's own layers, without sequence parallelism.
Tensor product(const Walk& w, const Tensor& x, const Tensor& weight) {
  mcore::Group group = w.group;
  group.sequence_parallel = false;
  return mcore::column_linear(x, weight, {}, group);
}

// mappings.py, _GatherFromModelParallelRegion: parts are gathered one behind the other and put
// side by side.
Tensor gather_columns(const Walk& w, const Tensor& x) {
  if (w.group.size == 1) return x;
  Tensor out;
  {
    const Tensor parts = mcore::all_gather(x, w.group);
    Shape sizes = x.sizes();
    sizes[-1] = checked_mul(sizes[-1], w.group.size);
    out = make(w.session, "aten.cat.default", sizes, x.dtype());
  }
  if (tracks(x))
    record({&out}, {&x}, [sizes = x.sizes(), dtype = x.dtype()](Grads& g) {
      g.set(0, make(g.session(), "aten.clone.default", sizes, dtype));
    });
  return out;
}

// _ScatterToSequenceParallelRegion: a rank's rows, a view.
Tensor scatter_rows(const Walk& w, const Tensor& x) {
  if (!w.group.gathers()) return x;
  Shape sizes = x.sizes();
  sizes[0] /= w.group.size;
  Tensor out = alias(x, sizes, x.strides());
  if (tracks(x))
    record({&out}, {&x},
           [group = w.group](Grads& g) { g.set(0, mcore::all_gather(g.in(), group)); });
  return out;
}

Tensor dropped(const Walk& w, const Tensor& x) { return dropout(x, w.strategy().peft.dropout); }

}  // namespace

bool is_adapted(const Params& p, std::string_view module) {
  return static_cast<bool>(p.find(part(module, "linear_in")));
}

Tensor with_column_adapter(const Walk& w, const Params& p, std::string_view module, const Tensor& x,
                           const Tensor& y) {
  Tensor low = product(w, dropped(w, x), p.get(part(module, "linear_in")));
  low = gather_columns(w, low);
  Tensor high = product(w, low, p.get(part(module, "linear_out")));
  low.reset();
  high = mul_scalar(high);
  return add(y, high);
}

Tensor with_row_adapter(const Walk& w, const Params& p, std::string_view module, const Tensor& x,
                        const Tensor& y) {
  // The parts' sum is reduced in place.
  Tensor low = product(w, dropped(w, x), p.get(part(module, "linear_in")));
  Tensor high = product(w, low, p.get(part(module, "linear_out")));
  low.reset();
  high = gather_columns(w, high);
  high = scatter_rows(w, high);
  high = mul_scalar(high);
  return add(y, high);
}

}  // namespace memplan::megatron
