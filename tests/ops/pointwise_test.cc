#include "ops/pointwise.h"

#include <doctest/doctest.h>

#include "probe.h"

namespace memplan {
namespace {

constexpr int64_t kStream = 32 * 8;

TEST_CASE("a norm keeps its input; without affine weights it has no parameters") {
  Probe g_probe;
  Graph g = g_probe.graph();
  const TensorId x = g.input("x", kStream, DType::bf16);
  norm(g, x, {.name = "ln", .width = 8, .bias = true});
  CHECK(held(g) == kStream * 2);
  CHECK(parameters(g) == 16);
  norm(g, x, {.name = "bare", .width = 8, .affine = false});
  CHECK(parameters(g) == 16);
}

TEST_CASE("smooth activations keep their input, ReLU its output") {
  Probe smooth_probe;
  Graph smooth = smooth_probe.graph();
  const TensorId x = smooth.input("x", kStream, DType::bf16);
  const TensorId y = activation(smooth, x, "gelu");
  CHECK(smooth.tensors[static_cast<size_t>(x)].saved);
  CHECK_FALSE(smooth.tensors[static_cast<size_t>(y)].saved);
  Probe relu_probe;
  Graph relu = relu_probe.graph();
  const TensorId a = relu.input("x", kStream, DType::bf16);
  const TensorId b = activation(relu, a, "relu");
  CHECK_FALSE(relu.tensors[static_cast<size_t>(a)].saved);
  CHECK(relu.tensors[static_cast<size_t>(b)].saved);
}

TEST_CASE("a product keeps an operand only where the other needs a gradient") {
  Probe probe;
  probe.context.input_requires_grad = false;
  Graph g = probe.graph();
  const TensorId frozen = g.input("mask", kStream, DType::bf16);
  g.tensors[static_cast<size_t>(frozen)].requires_grad = false;
  const TensorId live = g.add({.kind = "test", .name = "x"}, "x", kStream, DType::bf16, true);
  multiply(g, frozen, live);
  CHECK(g.tensors[static_cast<size_t>(frozen)].saved);
  CHECK_FALSE(g.tensors[static_cast<size_t>(live)].saved);
}

TEST_CASE("dropout keeps a mask of one byte an element, and is nothing at p = 0 or in inference") {
  Probe g_probe;
  Graph g = g_probe.graph();
  const TensorId x = g.input("x", kStream, DType::bf16);
  CHECK(dropout(g, x, 0.0) == x);
  dropout(g, x, 0.1);
  CHECK(held(g) == kStream);
  Probe inference;
  inference.context.training = false;
  Graph forward = inference.graph();
  const TensorId y = forward.input("x", kStream, DType::bf16);
  CHECK(dropout(forward, y, 0.1) == y);
}

TEST_CASE("nothing is kept below the first parameter that trains") {
  Probe probe;
  probe.context.block_trainable = false;
  probe.context.input_requires_grad = false;
  Graph g = probe.graph();
  const TensorId x = g.input("x", kStream, DType::bf16);
  const TensorId n = norm(g, x, {.name = "ln", .width = 8});
  activation(g, dropout(g, n, 0.1), "gelu");
  CHECK(held(g) == 0);
}

}  // namespace
}  // namespace memplan
