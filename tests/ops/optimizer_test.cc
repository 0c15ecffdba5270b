#include "ops/optimizer.h"

#include <doctest/doctest.h>

#include <array>

#include "memplan/error.h"

namespace memplan {
namespace {

using Kind = OptimizerKind;
using Impl = OptimizerImpl;

int64_t state(Kind kind, std::span<const int64_t> shape, DType dtype = DType::f32) {
  return optimizer_state(kind, shape, dtype).count();
}

OptimizerState kept(Kind kind, std::span<const int64_t> shape, DType dtype = DType::bf16,
                    Impl impl = Impl::forloop, Backend backend = Backend::cuda) {
  return pytorch_state({kind, impl, backend, 8}, shape, dtype);
}

constexpr std::array<int64_t, 2> kMatrix = {100, 200};
constexpr std::array<int64_t, 1> kVector = {300};
constexpr std::array<int64_t, 2> kLarge = {1024, 1024};

TEST_CASE("moments by optimizer") {
  CHECK(state(Kind::adamw, kMatrix) == 20000 * 8);
  CHECK(state(Kind::adam, kMatrix, DType::bf16) == 20000 * 4);
  CHECK(state(Kind::sgd, kMatrix) == 0);
  CHECK(state(Kind::sgd_momentum, kMatrix) == 20000 * 4);
  CHECK(state(Kind::lion, kMatrix, DType::bf16) == 20000 * 2);
  CHECK(state(Kind::lomo, kMatrix) == 0);
}

TEST_CASE("Adafactor keeps a row and a column sum of each matrix, all of a vector") {
  const std::array<int64_t, 3> experts = {8, 100, 200};
  for (Kind kind : {Kind::adafactor, Kind::adafactor_transformers, Kind::adalomo}) {
    CHECK(state(kind, kMatrix, DType::bf16) == (100 + 200) * 4);
    CHECK(state(kind, kVector) == 300 * 4);
    CHECK(state(kind, experts) == 8 * (100 + 200) * 4);
  }
}

TEST_CASE("8-bit Adam: 2.03125 bytes an element, fp32 below 4096 elements") {
  const std::array<int64_t, 1> large = {1 << 20};
  const std::array<int64_t, 1> small = {4095};
  const std::array<int64_t, 1> ragged = {4097};
  for (Kind kind : {Kind::adam8bit, Kind::paged_adamw8bit}) {
    CHECK(state(kind, large) * 32 == (1 << 20) * 65);
    CHECK(state(kind, small) == 4095 * 8);
    CHECK(state(kind, ragged) == 2 * 4097 + 2 * 4 * 17);
  }
  CHECK(state(Kind::lion8bit, large) * 64 == (1 << 20) * 65);
  CHECK(shared_state(Kind::adam8bit).count() == 2048);
  CHECK(shared_state(Kind::lion8bit).count() == 1024);
  CHECK(shared_state(Kind::adamw).count() == 0);
}

TEST_CASE("moments follow the parameter; the step counter sits beside it only if fused") {
  const OptimizerState forloop = kept(Kind::adamw, kMatrix);
  CHECK(forloop.device() == Bytes(20000 * 4));
  CHECK(forloop.host_scalars == Bytes(4));
  const OptimizerState fused = kept(Kind::adamw, kMatrix, DType::f32, Impl::fused);
  CHECK(fused.device() == Bytes(20000 * 8 + 4));
  CHECK(fused.host_scalars == Bytes(0));
  const OptimizerState host = kept(Kind::adamw, kMatrix, DType::bf16, Impl::foreach_, Backend::cpu);
  CHECK(host.device() == Bytes(20000 * 4 + 4));
}

TEST_CASE("torch.optim's Adafactor works in the parameter's dtype, transformers' in fp32") {
  CHECK(kept(Kind::adafactor, kMatrix).device() == Bytes(300 * 2));
  CHECK(kept(Kind::adafactor, kMatrix).host_scalars == Bytes(4));
  CHECK(kept(Kind::adafactor_transformers, kMatrix).device() == Bytes(300 * 4 + 4));
}

TEST_CASE("paged states of 100,000 elements and more live in managed memory") {
  const OptimizerState large = kept(Kind::paged_adamw, kLarge);
  CHECK(large.managed == Bytes(8 << 20));
  CHECK(large.device() == Bytes(0));
  CHECK(kept(Kind::paged_adamw, kMatrix).managed == Bytes(0));
  CHECK(kept(Kind::paged_adamw, kMatrix).device() == Bytes(20000 * 8));
  const OptimizerState quantized = kept(Kind::paged_adamw8bit, kLarge);
  CHECK(quantized.managed == Bytes(2 << 20));
  CHECK(quantized.device() == Bytes(2 * 4 * 4096));
}

TEST_CASE("torchao quantizes whole blocks and keeps a table with each moment") {
  CHECK(kept(Kind::adamw8bit_torchao, kLarge).device() ==
        Bytes(2 * ((1 << 20) + 4 * 4096 + 4 * 256)));
  CHECK(kept(Kind::adamw4bit_torchao, kLarge).device() ==
        Bytes(2 * ((1 << 19) + 4 * 8192 + 4 * 16)));
  const std::array<int64_t, 1> ragged = {4097};
  CHECK(kept(Kind::adamw8bit_torchao, ragged).device() == Bytes(4097 * 4));
}

TEST_CASE("Muon and GaLore take hidden matrices and leave the rest to Adam's rule") {
  for (Kind kind : {Kind::muon, Kind::galore}) {
    CHECK(takes(kind, 2, true));
    CHECK_FALSE(takes(kind, 2, false));
    CHECK_FALSE(takes(kind, 1, true));
    CHECK(state(kind, kVector) == 300 * 8);
    const OptimizerSetup setup{kind, Impl::forloop, Backend::cuda, 8};
    CHECK(pytorch_state(setup, kMatrix, DType::bf16, false).device() == Bytes(20000 * 4));
  }
  CHECK(takes(Kind::sgd, 1, true));
  CHECK(kept(Kind::muon, kMatrix).device() == Bytes(20000 * 2));
  // GaLoreAdamW counts steps in Python, torch's AdamW in a tensor
  CHECK(kept(Kind::galore, kVector).host_scalars == Bytes(0));
  CHECK(kept(Kind::muon, kVector).host_scalars == Bytes(4));
}

TEST_CASE("GaLore: moments of the longer side, a projector of the shorter") {
  CHECK(kept(Kind::galore, kMatrix).device() == Bytes((2 * 200 * 8 + 100 * 8) * 2));
  // in fp32 the projector is a view that holds a whole square factor
  CHECK(kept(Kind::galore, kMatrix, DType::f32).device() == Bytes((2 * 200 * 8 + 100 * 100) * 4));
  CHECK(optimizer_state(Kind::galore, kMatrix, DType::f32, 8) == Bytes((100 + 400) * 8 * 4));
  const std::array<int64_t, 2> narrow = {4, 200};
  CHECK(kept(Kind::galore, narrow).device() == Bytes((2 * 200 * 4 + 4 * 4) * 2));
}

TEST_CASE("which implementation runs") {
  const auto chosen = [](Kind kind, Impl impl, Backend backend = Backend::cuda) {
    Strategy strategy;
    strategy.optimizer = kind;
    strategy.optimizer_impl = impl;
    return optimizer_setup(strategy, backend).impl;
  };
  CHECK(chosen(Kind::adamw, Impl::automatic) == Impl::foreach_);
  CHECK(chosen(Kind::adamw, Impl::automatic, Backend::cpu) == Impl::forloop);
  CHECK(chosen(Kind::sgd, Impl::fused) == Impl::fused);
  CHECK(chosen(Kind::adafactor, Impl::automatic) == Impl::forloop);
  CHECK(chosen(Kind::adafactor, Impl::foreach_) == Impl::foreach_);
  CHECK(chosen(Kind::lion, Impl::automatic) == Impl::forloop);
  CHECK_THROWS_AS(chosen(Kind::adafactor, Impl::fused), Error);
  CHECK_THROWS_AS(chosen(Kind::lion, Impl::foreach_), Error);
}

TEST_CASE("which states a bare size cannot tell") {
  CHECK(state_depends_on_shape(Kind::adafactor));
  CHECK(state_depends_on_shape(Kind::galore));
  CHECK_FALSE(state_depends_on_shape(Kind::adamw));
  CHECK(updates_in_backward(Kind::lomo));
  CHECK_FALSE(updates_in_backward(Kind::adamw));
}

TEST_CASE("Trainer's AdamW is fused from torch 2.8 on") {
  Strategy s;
  s.framework = Framework::huggingface;
  s.torch = {2, 8, 0};
  CHECK(optimizer_setup(s, Backend::cuda).impl == OptimizerImpl::fused);
  s.torch = {2, 7, 1};
  CHECK(optimizer_setup(s, Backend::cuda).impl == OptimizerImpl::foreach_);
  s.torch = {2, 8, 0};
  s.framework = Framework::pytorch;
  CHECK(optimizer_setup(s, Backend::cuda).impl == OptimizerImpl::foreach_);
}

TEST_CASE("AdaLomo makes states for frozen parameters too") {
  CHECK(keeps_state_of_frozen(OptimizerKind::adalomo));
  CHECK_FALSE(keeps_state_of_frozen(OptimizerKind::adafactor));
}

}  // namespace
}  // namespace memplan
