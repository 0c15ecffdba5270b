#include "ops/mcore/mappings.h"

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::mcore {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

Tensor gather_columns(const Tensor& x, const Group& group) {
  if (group.size == 1) return x;
  Tensor out;
  {
    const Tensor parts = all_gather(x, group);
    Shape sizes = x.sizes();
    sizes[-1] = checked_mul(sizes[-1], group.size);
    out = make(x.session(), "aten.cat.default", sizes, x.dtype());
  }
  if (tracks(x))
    record({&out}, {&x}, [sizes = x.sizes(), dtype = x.dtype()](Grads& g) {
      g.set(0, make(g.session(), "aten.clone.default", sizes, dtype));
    });
  return out;
}

Tensor own_rows(const Tensor& x, const Group& group) {
  if (!group.gathers()) return x;
  Shape sizes = x.sizes();
  sizes[0] /= group.size;
  Tensor out = alias(x, sizes, x.strides());
  if (tracks(x)) record({&out}, {&x}, [group](Grads& g) { g.set(0, all_gather(g.in(), group)); });
  return out;
}

}  // namespace memplan::mcore
