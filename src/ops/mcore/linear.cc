#include "ops/mcore/linear.h"

#include <algorithm>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan::mcore {

using namespace aten;  // NOLINT: this file is written in its operators
using aten::Tensor;

namespace {

constexpr std::string_view kGemm = "transformer_engine.general_gemm";
constexpr std::string_view kGather = "c10d.all_gather_into_tensor";
constexpr std::string_view kScatter = "c10d.reduce_scatter_tensor";
constexpr std::string_view kQuantize = "transformer_engine.quantize";

Shape with_last(Shape sizes, int64_t width) {
  sizes[-1] = width;
  return sizes;
}

// What a GEMM reads: the tensor itself or, in fp8, its copies by rows and by columns.
struct Operand {
  Tensor rows, columns;
  /// The one that the weight's gradient reads.
  const Tensor& for_weight() const { return columns ? columns : rows; }
};
Operand operand(const Tensor& x, const Group& group, bool by_columns) {
  if (!group.fp8 || group.local) return {x, {}};
  const auto copy = [&] { return make(x.session(), kQuantize, x.sizes(), DType::u8); };
  Operand out{copy(), {}};
  if (by_columns && group.fp8_transposes) out.columns = copy();
  return out;
}

// What a norm gave as its product reads it. A kernel that knows the scale has written fp8 itself.
Operand norm_operand(const Tensor& y, const Group& group, bool by_columns) {
  if (!group.fp8_delayed) return operand(y, group, by_columns);
  Operand out{y, {}};
  if (by_columns && group.fp8_transposes)
    out.columns = make(y.session(), kQuantize, y.sizes(), DType::u8);
  return out;
}

// A gathered fp8 tensor as the weight's gradient reads it.
Tensor transposed(const Tensor& all, const Group& group) {
  if (!group.fp8_transposes || all.dtype() != DType::u8) return {};
  return make(all.session(), kQuantize, all.sizes(), DType::u8);
}

// What a GEMM of the whole sequence reads: the shards of all ranks, or x itself. Megatron-core's
// own layers gather into a buffer that stays; Userbuffers' are `registered`.
Tensor whole_input(const Tensor& x, const Group& group, bool registered) {
  if (!group.gathers()) return x;
  if (!group.local && !registered) return all_gather(x, group);
  if (group.local) *group.buffer = std::max(*group.buffer, checked_mul(x.bytes(), group.size));
  Shape sizes = x.sizes();
  sizes[0] = checked_mul(sizes[0], group.size);
  return owned_elsewhere(x.session(), sizes, x.dtype());
}

// dW, where it is a tensor of its own.
Tensor weight_gradient(const Tensor& weight, const Group& group) {
  if (group.fused_wgrad) return {};
  return make(weight.session(), kGemm, weight.sizes(), weight.dtype());
}

// dX of a column-parallel layer: [s, b, in] summed over the group, and its shard. The sum's operand
// lives on in the caller's frame.
struct InputGradient {
  Tensor whole, own;
};
InputGradient column_dgrad(const Tensor& grad, const Tensor& weight, const Group& group) {
  InputGradient out;
  const Shape sizes = with_last(grad.sizes(), weight.size(-1));
  out.whole = group.overlap && group.gathers() && !group.local
                  ? owned_elsewhere(grad.session(), sizes, grad.dtype())
                  : make(grad.session(), kGemm, sizes, grad.dtype());
  out.own = group.gathers() ? reduce_scatter(out.whole, group) : out.whole;
  return out;
}

struct NormOutput {
  Tensor y, mean, rstd;
};
NormOutput run_norm(const Tensor& x, const Norm& norm, DType output) {
  Session& session = x.session();
  const Shape rows{x.elements() / x.size(-1)};
  NormOutput out;
  out.y = allocate(session, x.sizes(), output);
  if (norm.bias) out.mean = allocate(session, rows, DType::f32);
  out.rstd = allocate(session, rows, DType::f32);
  session.ledger.note("transformer_engine.norm_fwd");
  return out;
}

// dx, dgamma and dbeta of the norm's kernel.
void norm_backward(Grads& g, const Tensor& x, const Norm& norm) {
  Session& session = g.session();
  Tensor dx = allocate(session, x.sizes(), x.dtype());
  Tensor dweight = allocate(session, norm.weight.sizes(), norm.weight.dtype());
  Tensor dbias;
  if (norm.bias) dbias = allocate(session, norm.bias.sizes(), norm.bias.dtype());
  session.ledger.note("transformer_engine.norm_bwd");
  g.set(0, std::move(dx));
  g.set(1, std::move(dweight));
  if (norm.bias) g.set(2, std::move(dbias));
}

}  // namespace

Tensor all_gather(const Tensor& x, const Group& group) {
  Shape sizes = x.sizes();
  sizes[0] = checked_mul(sizes[0], group.size);
  return make(x.session(), kGather, sizes, x.dtype());
}

Tensor reduce_scatter(const Tensor& x, const Group& group) {
  Shape sizes = x.sizes();
  sizes[0] /= group.size;
  return make(x.session(), kScatter, sizes, x.dtype());
}

Tensor norm(const Tensor& x, const Norm& norm) {
  NormOutput made = run_norm(x, norm, x.dtype());
  if (!tracks({&x, &norm.weight})) return made.y;
  Saved kx(x), kr(made.rstd), km;
  if (made.mean) km = Saved(made.mean);
  record({&made.y}, {&x, &norm.weight, &norm.bias}, [kx, kr, km, norm](Grads& g) {
    const Tensor input = kx.get();
    norm_backward(g, input, norm);
  });
  return made.y;
}

Tensor norm_column_linear(const Tensor& x, const Norm& given, const Tensor& weight,
                          const Tensor& bias, const Group& group, Tensor* normed) {
  if (group.local) return column_linear(norm(x, given), weight, bias, group);
  Session& session = x.session();
  NormOutput made = run_norm(x, given, group.fp8_delayed ? DType::u8 : x.dtype());
  const bool tracked = tracks({&x, &weight});
  Operand y = norm_operand(made.y, group, tracked && !group.gathers());
  made.y.reset();
  // Userbuffers gather only where autograd records.
  Tensor total = whole_input(y.rows, group, group.overlap && tracked);
  Tensor out = make(session, kGemm, with_last(total.sizes(), weight.size(0)), x.dtype());
  if (normed != nullptr) *normed = total;
  total.reset();
  if (!tracked) return out;
  Saved kx(x), ky, kr(made.rstd), km;
  if (weight.requires_grad() || normed != nullptr) ky = Saved(y.for_weight(), ReadBy::kernel);
  if (made.mean) km = Saved(made.mean);
  std::vector<Tensor> outputs{out};
  if (normed != nullptr)
    outputs.push_back(*normed = alias(*normed, normed->sizes(), normed->strides()));
  record(
      std::span(outputs), std::vector<Tensor>{x, given.weight, given.bias, weight, bias},
      [kx, ky, kr, km, given, weight, bias, group, returns = normed != nullptr](Grads& g) mutable {
        const Tensor input = kx.get();
        // module/base.py, grad_output_preprocess
        const Tensor gradient = contiguous(g.in());
        InputGradient dx;
        {
          const Operand rows = operand(gradient, group, true);
          Tensor kept, all, columns;
          if (weight.requires_grad()) {
            kept = ky.get();
            all = whole_input(kept, group, group.overlap);
          }
          dx = column_dgrad(gradient, weight, group);
          if (all && group.gathers()) columns = transposed(all, group);
          if (returns && g.in(1))
            dx.own = make(g.session(), "aten.add.Tensor", input.sizes(), input.dtype());
          if (g.wants(3)) g.set(3, weight_gradient(weight, group));
          if (g.wants(4)) g.set(4, make(g.session(), kGemm, bias.sizes(), bias.dtype()));
        }
        ky = {};  // clear_tensor_data
        norm_backward(g, input, given);
      });
  return out;
}

Tensor column_linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const Group& group) {
  // linear_with_frozen_weight gathers into a tensor of its own.
  const bool own = !weight.requires_grad() && group.gathers();
  Tensor total = own ? all_gather(x, group) : whole_input(x, group, false);
  Tensor out =
      make(x.session(), "aten.mm.default", with_last(total.sizes(), weight.size(0)), x.dtype());
  total.reset();
  // layers.py, LinearWithGradAccumulationAndAsyncCommunication: output = output + bias
  if (bias && group.local) {
    const Tensor product = std::move(out);
    out = make(x.session(), "aten.add.Tensor", product.sizes(), product.dtype());
  }
  if (!tracks({&x, &weight})) return out;
  Saved kx;  // a frozen layer keeps none
  if (weight.requires_grad()) kx = Saved(x, ReadBy::kernel);
  record({&out}, {&x, &weight, &bias}, [=](Grads& g) {
    Tensor input, all;
    if (weight.requires_grad()) {
      input = kx.get();
      all = whole_input(input, group, false);
    }
    const InputGradient dx = column_dgrad(g.in(), weight, group);
    if (g.wants(1)) g.set(1, weight_gradient(weight, group));
    if (g.wants(2)) g.set(2, make(g.session(), "aten.sum.dim_IntList", bias.sizes(), bias.dtype()));
    g.set(0, dx.own);
  });
  return out;
}

Tensor row_linear(const Tensor& x, const Tensor& weight, const Group& group) {
  Session& session = x.session();
  const bool tracked = tracks({&x, &weight});
  const Operand in = operand(x, group, tracked && weight.requires_grad());
  const bool registered = group.overlap && group.gathers() && !group.local;
  const Shape sizes = with_last(x.sizes(), weight.size(0));
  Tensor out = registered ? owned_elsewhere(session, sizes, x.dtype())
                          : make(session, kGemm, sizes, x.dtype());
  if (group.gathers()) out = reduce_scatter(out, group);
  if (!tracked) return out;
  Saved kx;
  if (weight.requires_grad()) kx = Saved(in.for_weight(), ReadBy::kernel);
  record({&out}, {&x, &weight},
         [kx, weight, group, registered, input_sizes = x.sizes(), dtype = x.dtype()](Grads& g) {
           Tensor input;
           if (weight.requires_grad()) input = kx.get();
           const Operand grad = operand(g.in(), group, !group.gathers());
           const Tensor all =
               group.gathers() ? whole_input(grad.rows, group, registered) : grad.rows;
           const Tensor columns = group.gathers() ? transposed(all, group) : Tensor();
           Tensor dx = make(g.session(), kGemm, input_sizes, dtype);
           if (g.wants(1)) g.set(1, weight_gradient(weight, group));
           g.set(0, std::move(dx));
         });
  return out;
}

}  // namespace memplan::mcore
