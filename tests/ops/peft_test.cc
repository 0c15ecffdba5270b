#include "ops/peft.h"

#include <doctest/doctest.h>

#include "memplan/error.h"
#include "ops/linear.h"
#include "ops/pointwise.h"
#include "probe.h"

namespace memplan {
namespace {

// What a method adds to one linear layer of 12 inputs and 8 outputs.
struct Added {
  int64_t trained = 0, frozen = 0, buffers = 0, shared = 0, shared_buffers = 0;
  friend bool operator==(const Added&, const Added&) = default;
};

int64_t elements(const std::vector<Param>& list, bool trained) {
  int64_t sum = 0;
  for (const Param& p : list)
    if (p.adapter && p.trainable == trained) sum += p.elements();
  return sum;
}

Added on_linear(PeftSpec peft) {
  Probe probe;
  peft.targets = {"q"};
  probe.peft = peft;
  Graph g = probe.graph();
  linear(g, g.input("x", 32 * 12, DType::bf16), {.name = "q", .in = 12, .out = 8, .bias = true});
  REQUIRE(g.adapted.size() == 1);
  Graph first(g.context);
  const AdaptedModule adapted{&g.adapted[0], 6};  // six equal layers
  add_shared_peft(first, std::span(&adapted, 1));
  return {elements(g.params, true), elements(g.params, false), elements(g.buffers, false),
          elements(first.params, true), elements(first.buffers, false)};
}

PeftSpec with(PeftKind kind, std::initializer_list<std::pair<PeftNumber, int64_t>> numbers,
              int64_t rank = 2) {
  PeftSpec peft = make_peft(kind);
  peft.rank = rank;
  for (const auto& [number, value] : numbers) peft.number(number) = value;
  return peft;
}

using K = PeftKind;
using N = PeftNumber;

TEST_CASE("products of narrow matrices, by pencil: in 12, out 8, r 2") {
  CHECK(on_linear(with(K::lora, {})) == Added{2 * 12 + 8 * 2});
  CHECK(on_linear(with(K::lora, {{N::dora, 1}})) == Added{40 + 8});
  CHECK(on_linear(with(K::lora, {{N::adapter_bias, 1}})) == Added{40 + 8});
  CHECK(on_linear(with(K::lora, {{N::frozen_a, 1}})) == Added{16, 24});
  CHECK(on_linear(with(K::adalora, {})) == Added{40 + 2 + 1});  // the rank count is cast: trained
  CHECK(on_linear(with(K::loha, {})) == Added{2 * 40});
  CHECK(on_linear(with(K::lokr, {})) == Added{2 * 3 + 4 * 4});       // 8 = 2·4, 12 = 3·4
  CHECK(on_linear(with(K::lokr, {}, 1)) == Added{2 * 3 + (4 + 4)});  // second factor split
  CHECK(on_linear(with(K::lokr, {{N::decompose_both, 1}}, 1)) == Added{(2 + 3) + (4 + 4)});
  CHECK(on_linear(with(K::hira, {})) == Added{40});
  CHECK(on_linear(with(K::deft, {})) == Added{40});
  CHECK(on_linear(with(K::deft, {{N::one_matrix, 1}})) == Added{16});
  CHECK(on_linear(with(K::delora, {})) == Added{41, 0, 12});
  CHECK(on_linear(with(K::gralora, {})) == Added{2 * (6 * 2 + 2 * 4)});
  CHECK(on_linear(with(K::gralora, {{N::hybrid_rank, 3}})) == Added{40 + 3 * 20});
  CHECK(on_linear(with(K::glora, {})) == Added{2 * 40 + (12 * 2 + 2) + 2});
  CHECK(on_linear(with(K::glora, {{N::path_ab, 2}, {N::path_c, 2}, {N::path_de, 2}})) ==
        Added{2 * 8 + 12 + 2 * 8});
  CHECK(on_linear(with(K::poly, {})) == Added{4 * (24 + 16) + 4});
  CHECK(on_linear(with(K::peanut, {{N::depth, 3}})) == Added{2 * 16 + 6 * 4});
  CHECK(on_linear(with(K::osf, {})) == Added{8 * 4 + 4 + 4 * 12});
}

TEST_CASE("rotations, by pencil") {
  CHECK(on_linear(with(K::oft, {{N::block_size, 4}}, 0)) == Added{3 * 6, 0, 12});
  CHECK(on_linear(with(K::oft, {{N::block_size, 0}}, 2)) == Added{2 * 15, 0, 30});
  CHECK(on_linear(with(K::oft, {{N::block_size, 5}}, 0)) == Added{3 * 6, 0, 12});  // nearest: 4
  CHECK(on_linear(with(K::oft, {{N::block_size, 4}, {N::share_blocks, 1}}, 0)) == Added{6, 0, 12});
  CHECK(on_linear(with(K::boft, {{N::block_size, 4}})) == Added{3 * 16 + 8, 0, 144});
  CHECK(on_linear(with(K::hra, {})) == Added{24});
  CHECK(on_linear(with(K::psoft, {}, 4)) == Added{6 + 4 + 4, 0, 12 + 4 * 20});
  CHECK(on_linear(with(K::road, {{N::block_size, 4}})) == Added{8});
  CHECK(on_linear(with(K::road, {{N::block_size, 4}, {N::variant, 2}})) == Added{32});
}

TEST_CASE("vectors, blocks and entries, by pencil") {
  CHECK(on_linear(with(K::ia3, {})) == Added{8});
  PeftSpec feedforward = with(K::ia3, {});
  feedforward.feedforward = {"q"};
  CHECK(on_linear(feedforward) == Added{12});
  CHECK(on_linear(with(K::beft, {})) == Added{8});
  CHECK(on_linear(with(K::ln_tuning, {})) == Added{96 + 8});
  CHECK(on_linear(with(K::miss, {})) == Added{16});
  CHECK(on_linear(with(K::bone, {})) == Added{16});
  CHECK(on_linear(with(K::c3a, {{N::block_size, 4}})) == Added{2 * 3 * 4});
  CHECK(on_linear(with(K::fourierft, {{N::frequencies, 7}})) == Added{7, 0, 14});
  CHECK(on_linear(with(K::waveft, {{N::frequencies, 7}})) == Added{7, 0, 14});
  CHECK(on_linear(with(K::shira, {})) == Added{40, 0, 80});
  PeftSpec super = with(K::supertuning, {}, 0);
  super.fraction = 0.9;
  CHECK(on_linear(super) == Added{9, 0, 9});
}

TEST_CASE("what six layers share counts once") {
  CHECK(on_linear(with(K::vera, {})) == Added{8 + 2, 0, 0, 0, 2 * 20});
  CHECK(on_linear(with(K::pvera, {})) == Added{8 + 4, 0, 0, 0, 4 * 12 + 2 * 8});
  CHECK(on_linear(with(K::randlora, {}, 3)) == Added{3 * 3 + 3 * 8, 0, 0, 0, 3 * 8 + 12 * 3 * 3});
  CHECK(on_linear(with(K::vblora, {{N::vectors, 5}, {N::vector_length, 4}})) ==
        Added{2 * 3 * 5 + 2 * 2 * 5, 0, 0, 5 * 4});
  CHECK(on_linear(with(K::unilora, {{N::vector_length, 9}})) == Added{0, 0, 2 * 40, 9});
  CHECK(on_linear(with(K::tinylora, {{N::projections, 3}})) == Added{0, 0, 2 * 20 + 3 * 4, 6 * 3});
  PeftSpec tied = with(K::tinylora, {{N::projections, 3}});
  tied.fraction = 1;
  CHECK(on_linear(tied).shared == 3);
  CHECK(on_linear(with(K::lily, {{N::stride, 4}})) == Added{2 * 2, 0, 0, 2 * 24 + 2 * 2 * 8});
}

TEST_CASE("peft keeps adapters in fp32, whole copies in the model's type") {
  Probe probe;
  probe.peft = make_peft(K::lora);
  probe.peft.targets = {"q"};
  probe.peft.modules_to_save = {"n"};
  Graph g = probe.graph();
  const TensorId x = g.input("x", 32 * 12, DType::bf16);
  linear(g, x, {.name = "q", .in = 12, .out = 8});
  norm(g, x, {.name = "n", .width = 12});
  REQUIRE(g.params.size() == 5);
  CHECK(g.params[1].name == "q.lora_A.default.weight");
  CHECK(g.params[1].dtype == DType::f32);
  CHECK_FALSE(g.params[3].trainable);
  CHECK(g.params[4].name == "n.modules_to_save.default.weight");
  CHECK(g.params[4].trainable);
  CHECK_FALSE(g.params[4].dtype);
}

TEST_CASE("targets by ending, pattern and layer") {
  const auto adapts = [](const PeftSpec& peft, std::string_view module) {
    return PeftTargets(peft).adapts(module, ModuleForm::linear);
  };
  PeftSpec peft = make_peft(K::lora);
  peft.targets = {"q_proj", "mlp.down"};
  CHECK(adapts(peft, "model.layers.1.q_proj"));
  CHECK_FALSE(adapts(peft, "model.layers.1.xq_proj"));
  CHECK(adapts(peft, "model.layers.1.mlp.down"));
  peft.excluded = {"layers.1.q_proj"};
  CHECK_FALSE(adapts(peft, "model.layers.1.q_proj"));
  CHECK(PeftTargets(peft).by_layer());
  peft.excluded.clear();
  CHECK_FALSE(PeftTargets(peft).by_layer());
  peft.layers = {2, 3};
  CHECK(adapts(peft, "model.layers.3.q_proj"));
  CHECK_FALSE(adapts(peft, "model.layers.4.q_proj"));
  CHECK_FALSE(adapts(peft, "q_proj.3"));
  peft.layer_pattern = {"h"};
  CHECK_FALSE(adapts(peft, "model.layers.3.q_proj"));
  CHECK(adapts(peft, "model.h.3.q_proj"));
  peft = make_peft(K::lora);
  peft.targets = {".*\\.(q|v)_proj"};
  CHECK(adapts(peft, "layers.0.v_proj"));
  CHECK_FALSE(adapts(peft, "layers.0.k_proj"));
  peft.rank_pattern = {{"v_proj", 3}};
  CHECK(PeftTargets(peft).sized("layers.0.v_proj", 8) == 3);
  CHECK(PeftTargets(peft).sized("layers.0.q_proj", 8) == 8);
}

TEST_CASE("what cannot be is refused") {
  CHECK_THROWS_WITH_AS(on_linear(with(K::c3a, {{N::block_size, 5}})),
                       doctest::Contains("do not divide by block_size 5"), Error);
  CHECK_THROWS_AS(on_linear(with(K::boft, {{N::block_size, 5}})), Error);
  CHECK_THROWS_AS(on_linear(with(K::psoft, {}, 9)), Error);
  CHECK_THROWS_AS(on_linear(with(K::shira, {}, 9)), Error);
  Probe probe;
  probe.peft = make_peft(K::loha);
  probe.peft.targets = {"n"};
  Graph g = probe.graph();
  const TensorId x = g.input("x", 32 * 12, DType::bf16);
  CHECK_THROWS_WITH_AS(norm(g, x, {.name = "n", .width = 12}),
                       doctest::Contains("on which loha cannot sit"), Error);
}

TEST_CASE("a regular expression that would exhaust the matcher's stack is refused") {
  PeftSpec peft = make_peft(K::lora);
  for (const std::string& pattern : {std::string(100'000, '(') + "q" + std::string(100'000, ')'),
                                     std::string("((a?){300}){300}"), std::string("q(")}) {
    peft.targets = {pattern};
    CHECK_THROWS_AS(PeftTargets{peft}, Error);
  }
}

}  // namespace
}  // namespace memplan
