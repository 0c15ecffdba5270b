#include "ops/linear.h"

#include <utility>

#include "memplan/error.h"
#include "ops/peft.h"
#include "ops/pointwise.h"

namespace memplan {
namespace {

// 2 FLOPs per multiply-add.
double matmul_flops(int64_t m, int64_t n, int64_t k) {
  return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
}

// Tensor-parallel ranks that work on these tokens. Those that sequence parallelism has cut are one
// rank's alone.
int64_t ranks_on(const Graph& g, int64_t tokens) {
  return g.context.sequence_parallel && tokens == g.stream_tokens() ? 1 : g.context.tp;
}

// The bare product; what LoRA's two matrices share with a module's own weight.
TensorId product_with(Graph& g, TensorId x, Param weight, int64_t in, int64_t out,
                      std::string_view output) {
  const int64_t tokens = g.elements(x) / in;
  // Ranks among which the weight is divided.
  const double ranks =
      static_cast<double>(weight.elements()) / static_cast<double>(checked_mul(in, out));
  const bool trained = g.param(std::move(weight));
  const double flops = matmul_flops(tokens, out, in);
  // Backward: one product for the input's gradient, one for the weight's.
  const double backward = flops * ((g.grad(x) ? 1 : 0) + (trained ? 1 : 0));
  const TensorId y =
      g.add({.kind = "linear",
             .name = output,
             .flops = flops,
             .flops_backward = backward,
             .share = ranks / static_cast<double>(ranks_on(g, tokens))},
            output, checked_mul(tokens, out), g.context.activation, g.grad(x) || trained);
  if (trained) g.save(x);
  return y;
}

// Adds LoRA's B·A beside a module (arXiv 2106.09685, section 4.1), of parameters that adapt() gave
// to it. The cut of the module's weight carries over: column-parallel cuts B, row-parallel cuts A.
TensorId low_rank(Graph& g, TensorId x, TensorId y, const Linear& spec, size_t first, int64_t in,
                  int64_t out) {
  if (g.context.peft->kind != PeftKind::lora || g.params.size() < first + 2) return y;
  const bool column = spec.cut == Cut::dim0, row = spec.cut == Cut::dim1;
  const int64_t parts = spec.parts > 0 ? spec.parts : g.context.tp;
  Param a = std::move(g.params[first]), b = std::move(g.params[first + 1]);
  g.params.erase(g.params.begin() + static_cast<std::ptrdiff_t>(first),
                 g.params.begin() + static_cast<std::ptrdiff_t>(first) + 2);
  if (parts > 1 && row) a.cut = Cut::dim1, a.parts = parts;
  if (parts > 1 && column) b.cut = Cut::dim0, b.parts = parts;
  b.part_size = spec.part_size;
  const int64_t r = b.shape[1];
  const TensorId dropped = dropout(g, x, g.context.peft->dropout, "LoRA dropout output");
  const TensorId low = product_with(g, dropped, std::move(a), in, r, "LoRA A output");
  const TensorId high = product_with(g, low, std::move(b), r, out, "LoRA B output");
  return add(g, y, high, "LoRA sum");
}

// The adapter's two matrices: A's rows, or beside a row-parallel layer its columns, and B's rows
// are divided (Megatron-Bridge, peft/utils.py, ParallelLinearAdapter).
void divide_bridge_adapter(Graph& g, const Linear& spec, size_t first) {
  const int64_t tp = g.context.tp;
  if (tp == 1) return;
  const bool row = spec.cut == Cut::dim1;
  Param &a = g.params[first], &b = g.params[first + 1];
  const auto divide = [&](Param& p, Cut cut, int64_t size, const char* what) {
    if (size % tp != 0)
      throw Error(ErrorKind::bad_input, "--peft",
                  spec.name + ": " + what + " " + std::to_string(size) +
                      " does not divide by tensor parallel " + std::to_string(tp),
                  "give a multiple of it");
    p.cut = cut;
    p.parts = tp;
  };
  if (row)
    divide(a, Cut::dim1, spec.in, "its input of");
  else
    divide(a, Cut::dim0, a.shape[0], "the rank");
  divide(b, Cut::dim0, spec.out, "its output of");
}

}  // namespace

Param make_param(std::string name, std::initializer_list<int64_t> shape, Cut cut, int64_t parts) {
  Param p;
  p.name = std::move(name);
  for (int64_t size : shape) p.shape[static_cast<size_t>(p.dims++)] = size;
  p.cut = parts > 1 ? cut : Cut::replicated;
  p.parts = parts;
  return p;
}

TensorId linear(Graph& g, TensorId x, const Linear& spec) {
  const int64_t parts = spec.parts > 0 ? spec.parts : g.context.tp;
  const int64_t in = spec.cut == Cut::dim1 ? ceil_div(spec.in, parts) : spec.in;
  const int64_t share = spec.part_size > 0 ? spec.part_size : ceil_div(spec.out, parts);
  const int64_t out = spec.cut == Cut::dim0 ? share : spec.out;
  Param weight = make_param(spec.name + ".weight", {spec.out, spec.in}, spec.cut, parts);
  weight.part_size = spec.part_size;
  weight.linear = spec.module;
  if (spec.transposed) {
    std::swap(weight.shape[0], weight.shape[1]);
    if (weight.cut != Cut::replicated) weight.cut = weight.cut == Cut::dim0 ? Cut::dim1 : Cut::dim0;
  }
  TensorId y = product_with(g, x, std::move(weight), in, out, spec.output);
  if (spec.bias) {
    const bool column = spec.cut == Cut::dim0;
    Param bias = make_param(spec.name + ".bias", {spec.out}, column ? Cut::dim0 : Cut::replicated,
                            column ? parts : 1);
    bias.part_size = spec.part_size;
    if (g.param(std::move(bias))) g.tensors[static_cast<size_t>(y)].requires_grad = true;
  }
  if (!spec.module) return y;
  const size_t first = g.params.size();
  if (!adapt(g, {.name = spec.name,
                 .form = spec.transposed ? ModuleForm::conv1d : ModuleForm::linear,
                 .in = spec.in,
                 .out = spec.out,
                 .bias = spec.bias,
                 .role = spec.role,
                 .fused = spec.fused}))
    return y;
  g.tensors[static_cast<size_t>(y)].requires_grad |= g.context.training;
  if (g.context.peft->kind == PeftKind::bridge_lora) divide_bridge_adapter(g, spec, first);
  return low_rank(g, x, y, spec, first, in, out);
}

TensorId enter_tensor_parallel(Graph& g, TensorId x) {
  if (g.context.tp == 1) return x;
  const bool grad = g.grad(x);
  if (!g.context.sequence_parallel) {
    if (grad)
      g.comm(Collective::all_reduce, CommGroup::tensor_parallel, true,
             g.tensors[static_cast<size_t>(x)].bytes());
    return x;
  }
  const DType dtype = g.dtype(x);
  const int64_t whole = checked_mul(g.elements(x), g.context.tp);
  const TensorId gathered = g.add({.kind = "all_gather", .name = "sequence gather"},
                                  "gathered input", whole, dtype, grad);
  g.tensors[static_cast<size_t>(gathered)].saved_as = x;
  const Bytes bytes = g.tensors[static_cast<size_t>(gathered)].bytes();
  g.comm(Collective::all_gather, CommGroup::tensor_parallel, false, bytes);
  if (grad) g.comm(Collective::reduce_scatter, CommGroup::tensor_parallel, true, bytes);
  return gathered;
}

TensorId leave_tensor_parallel(Graph& g, TensorId y) {
  if (g.context.tp == 1) return y;
  const Bytes bytes = g.tensors[static_cast<size_t>(y)].bytes();
  if (!g.context.sequence_parallel) {
    g.comm(Collective::all_reduce, CommGroup::tensor_parallel, false, bytes);
    return y;
  }
  const TensorId shard =
      g.add({.kind = "reduce_scatter", .name = "sequence scatter"}, "scattered output",
            ceil_div(g.elements(y), g.context.tp), g.dtype(y), g.grad(y));
  g.comm(Collective::reduce_scatter, CommGroup::tensor_parallel, false, bytes);
  if (g.grad(y)) g.comm(Collective::all_gather, CommGroup::tensor_parallel, true, bytes);
  return shard;
}

}  // namespace memplan
