#include "policy/optimizer_step.h"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "memplan/error.h"
#include "ops/optimizer.h"

namespace memplan {
namespace {

using Kind = OptimizerKind;
using Impl = OptimizerImpl;

StepParam matrix(int64_t rows, int64_t columns, DType dtype, int64_t count = 1) {
  StepParam out;
  out.shape = {rows, columns};
  out.dims = 2;
  out.dtype = dtype;
  out.count = count;
  return out;
}

StepParam vector(int64_t size, DType dtype, int64_t count = 1) {
  StepParam out = matrix(size, 0, dtype, count);
  out.dims = 1;
  return out;
}

Strategy with(Kind kind, Impl impl = Impl::automatic, bool clip = false) {
  Strategy out;
  out.optimizer = kind;
  out.optimizer_impl = impl;
  out.clip_gradients = clip;
  out.galore_rank = 8;
  return out;
}

void check(const StepPeak& peak, int64_t transient, std::string_view at) {
  CHECK(peak.transient == Bytes(transient));
  CHECK(peak.at == at);
}

TEST_CASE("AdamW: a square root of all, of one twice, of none") {
  const std::vector<StepParam> params = {matrix(10, 20, DType::bf16), vector(30, DType::bf16, 4)};
  const auto step = [&](Impl impl) {
    return optimizer_step(with(Kind::adamw, impl), params, Backend::cuda);
  };
  check(step(Impl::foreach_), (200 + 4 * 30) * 2, "aten._foreach_sqrt.default");
  check(step(Impl::automatic), (200 + 4 * 30) * 2, "aten._foreach_sqrt.default");
  check(step(Impl::forloop), 2 * 200 * 2, "aten.div.Tensor");
  check(step(Impl::fused), 0, "start");
}

TEST_CASE("in a loop, the quotient before outlives the next square root") {
  const std::vector<StepParam> params = {matrix(10, 10, DType::f32), matrix(10, 9, DType::f32)};
  check(optimizer_step(with(Kind::adam, Impl::forloop), params, Backend::cuda), (100 + 2 * 90) * 4,
        "aten.div.Tensor");
}

TEST_CASE("foreach keeps one dtype's roots until the next dtype has its own") {
  const std::vector<StepParam> params = {matrix(10, 10, DType::bf16), vector(10, DType::f32)};
  check(optimizer_step(with(Kind::adamw), params, Backend::cuda), 200 + 40,
        "aten._foreach_sqrt.default");
  std::vector<StepParam> apart = params;
  apart[1].group = 1;
  check(optimizer_step(with(Kind::adamw), apart, Backend::cuda), 200, "aten._foreach_sqrt.default");
}

TEST_CASE("the host's step counters cost a one of four bytes") {
  const std::vector<StepParam> params = {vector(1, DType::bf16)};
  check(optimizer_step(with(Kind::adamw, Impl::foreach_), params, Backend::cpu), 4,
        "aten.lift_fresh.default");
  check(optimizer_step(with(Kind::adamw, Impl::foreach_), params, Backend::cuda), 2,
        "aten._foreach_sqrt.default");
}

TEST_CASE("clipping: norms, their stack and the norm of norms; sums of chunks on CUDA") {
  const std::vector<StepParam> params = {matrix(1000, 1000, DType::bf16, 146)};
  const Strategy sgd = with(Kind::sgd, Impl::automatic, true);
  check(optimizer_step(sgd, params, Backend::cpu), 146 * 2 * 2 + 2,
        "aten.linalg_vector_norm.default");
  // 1,000,000 elements are 16 chunks of 65,536
  check(optimizer_step(sgd, params, Backend::cuda), 146 * 2 + 146 * 16 * 4,
        "aten._foreach_norm.Scalar");
  const std::vector<StepParam> one = {vector(5, DType::f32)};
  check(optimizer_step(sgd, one, Backend::cpu), 4 * 4, "aten.mul.Tensor");
}

TEST_CASE("Muon: a matrix at a time in bf16, the rest by AdamW") {
  // the momentum, two iterates and two gram matrices, when the second iteration ends
  const std::vector<StepParam> params = {matrix(8, 32, DType::bf16, 100), vector(8, DType::bf16)};
  check(optimizer_step(with(Kind::muon), params, Backend::cuda), 3 * 8 * 32 * 2 + 2 * 8 * 8 * 2,
        "aten.addmm.default");
  std::vector<StepParam> embedding = {matrix(8, 32, DType::bf16)};
  embedding[0].hidden = false;
  check(optimizer_step(with(Kind::muon), embedding, Backend::cuda), 8 * 32 * 2,
        "aten._foreach_sqrt.default");
}

TEST_CASE("1,000 layers cost what two cost") {
  for (Kind kind : {Kind::adafactor, Kind::adafactor_transformers, Kind::galore, Kind::muon}) {
    CAPTURE(to_string(kind));
    const std::vector<StepParam> two = {matrix(64, 8, DType::bf16, 2),
                                        matrix(8, 30, DType::bf16, 2)};
    std::vector<StepParam> many = two;
    many[0].count = many[1].count = 1000;
    const StepPeak a = optimizer_step(with(kind), two, Backend::cuda);
    const StepPeak b = optimizer_step(with(kind), many, Backend::cuda);
    CHECK(a.transient == b.transient);
    CHECK(a.at == b.at);
    CHECK(a.transient > Bytes(0));
  }
}

TEST_CASE("LOMO updates in backward, in fp32") {
  const std::vector<StepParam> params = {matrix(10, 20, DType::bf16)};
  check(optimizer_step(with(Kind::lomo), params, Backend::cuda), 0, "start");
  // both fp32 copies, less the gradient
  check(update_in_backward(with(Kind::lomo), params[0], Backend::cuda), 200 * (4 + 4 - 2),
        "aten._to_copy.default");
  check(update_in_backward(with(Kind::lomo), matrix(10, 20, DType::f32), Backend::cuda), 0,
        "start");
  check(update_in_backward(with(Kind::adalomo), params[0], Backend::cuda),
        200 * (4 + 4 + 4 - 2) + (10 + 20) * 4, "aten.mul.Tensor");
  Strategy hooked = with(Kind::adamw);
  hooked.optimizer_in_backward = hooked.clip_gradients = true;
  check(optimizer_step(hooked, params, Backend::cuda), 0, "start");
  check(update_in_backward(hooked, params[0], Backend::cuda), 200 * 2,
        "aten._foreach_sqrt.default");
  check(update_in_backward(with(Kind::adamw), params[0], Backend::cuda), 0, "start");
}

TEST_CASE("bitsandbytes works in place on CUDA and is refused on the CPU") {
  const std::vector<StepParam> params = {matrix(100, 200, DType::bf16)};
  check(optimizer_step(with(Kind::paged_adamw8bit), params, Backend::cuda), 0, "start");
  CHECK_THROWS_AS(optimizer_step(with(Kind::adam8bit), params, Backend::cpu), Error);
}

TEST_CASE("no parameters, no step; too many bytes are an error") {
  for (const auto& row : names_of<OptimizerKind>())
    check(optimizer_step(with(row.value, Impl::automatic, true), {}, Backend::cuda), 0, "start");
  const std::vector<StepParam> huge = {matrix(int64_t{1} << 40, int64_t{1} << 20, DType::f32, 4)};
  CHECK_THROWS_AS(optimizer_step(with(Kind::adamw), huge, Backend::cuda), Error);
}

// Real steps: tests/reference/trace_optimizer.py.
TEST_CASE("states and transients of real steps, to the byte") {
  std::ifstream file(std::string(MEMPLAN_SOURCE_DIR) + "/tests/reference/optimizer_steps.jsonl");
  REQUIRE(file);
  const auto kind_of = [](std::string name) {
    for (char& c : name)
      if (c == '_') c = '-';
    return parse_name<OptimizerKind>(name, "optimizer");
  };
  int seen = 0;
  for (std::string line; std::getline(file, line); ++seen) {
    const nlohmann::json row = nlohmann::json::parse(line), &c = row["case"];
    CAPTURE(c["id"].get<std::string>());
    Strategy strategy = with(kind_of(c["optimizer"]), Impl::automatic, c["clip"]);
    strategy.galore_rank = c.value("rank", 0);
    if (!c["impl"].is_null())
      strategy.optimizer_impl = parse_name<Impl>(std::string(c["impl"]), "");
    const OptimizerSetup setup = optimizer_setup(strategy, Backend::cpu);

    std::vector<StepParam> params;
    Bytes state = shared_state(setup.kind);
    for (const auto& p : c["params"]) {
      StepParam param;
      for (int64_t size : p["shape"]) param.shape[static_cast<size_t>(param.dims++)] = size;
      param.dtype = parse_dtype(std::string(p["dtype"]), "");
      param.count = p.value("count", 1);
      param.run = p.value("run", 0);
      param.group = p.value("group", 0);
      param.hidden = p.value("hidden", true);
      params.push_back(param);
      const std::span shape(param.shape.data(), static_cast<size_t>(param.dims));
      state += param.count * pytorch_state(setup, shape, param.dtype, param.hidden).device();
    }
    CHECK(state == Bytes(row["state"].get<int64_t>()));
    check(optimizer_step(strategy, params, Backend::cpu), row["transient"].get<int64_t>(),
          row["at"].get<std::string>());
  }
  CHECK(seen > 100);
}

}  // namespace
}  // namespace memplan
