#include "ops/pointwise.h"

#include <array>

#include "ops/linear.h"
#include "ops/peft.h"

namespace memplan {
namespace {

struct ActivationRow {
  std::string_view name;
  bool keeps_output;
};
// derivatives.yaml: relu, sigmoid and tanh are differentiated from their result, the others from
// their input.
constexpr std::array<ActivationRow, 3> kKeepOutput{
    {{"relu", true}, {"sigmoid", true}, {"tanh", true}}};

bool keeps_output(std::string_view kind) {
  for (const ActivationRow& row : kKeepOutput)
    if (row.name == kind) return row.keeps_output;
  return false;
}

}  // namespace

TensorId norm(Graph& g, TensorId x, const Norm& spec) {
  bool trained = false;
  if (spec.affine) {
    const int64_t parts = spec.cut == Cut::replicated ? 1
                          : spec.parts > 0            ? spec.parts
                                                      : g.context.tp;
    const auto make = [&](const char* suffix) {
      Param p = spec.shape.size() > 0
                    ? make_param(spec.name + suffix, spec.shape, spec.cut, parts)
                    : make_param(spec.name + suffix, {spec.width}, spec.cut, parts);
      p.norm = true;
      return p;
    };
    trained = g.param(make(".weight"));
    if (spec.bias) trained |= g.param(make(".bias"));
    const PeftModule module{.name = spec.name,
                            .form = ModuleForm::norm,
                            .out = make(".weight").elements(),
                            .bias = spec.bias};
    trained |= adapt(g, module);
  }
  const TensorId y = g.add({.kind = "norm", .name = "norm"}, "norm output", g.elements(x),
                           g.dtype(x), g.grad(x) || trained);
  if (g.grad(y)) g.save(x);
  return y;
}

TensorId activation(Graph& g, TensorId x, std::string_view kind) {
  const TensorId y = g.add({.kind = "activation", .name = "activation"}, "activation output",
                           g.elements(x), g.dtype(x), g.grad(x));
  if (g.grad(x)) g.save(keeps_output(kind) ? y : x);
  return y;
}

TensorId multiply(Graph& g, TensorId a, TensorId b, std::string_view output) {
  const TensorId y = g.add({.kind = "multiply", .name = output}, output, g.elements(a), g.dtype(a),
                           g.grad(a) || g.grad(b));
  if (g.grad(b)) g.save(a);
  if (g.grad(a)) g.save(b);
  return y;
}

TensorId dropout(Graph& g, TensorId x, double p, std::string_view output) {
  if (p <= 0 || !g.context.training) return x;
  const bool again = g.tensors[static_cast<size_t>(x)].recomputable;
  const TensorId y = g.add({.kind = "dropout", .name = output, .recomputable = again}, output,
                           g.elements(x), g.dtype(x), g.grad(x));
  if (g.grad(x)) g.save_extra("dropout mask", g.elements(x), DType::boolean);
  return y;
}

TensorId add(Graph& g, TensorId a, TensorId b, std::string_view output) {
  return g.add({.kind = "add", .name = output}, output, g.elements(a), g.dtype(a),
               g.grad(a) || g.grad(b));
}

}  // namespace memplan
