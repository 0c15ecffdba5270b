// What the kernels of a Mamba-2 mixer keep and hold, by pencil: two sequences of four chunks.
#include "ops/mcore/state_space.h"

#include <doctest/doctest.h>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"

namespace memplan {
namespace {

using aten::Session;
using aten::Tensor;

constexpr int64_t kB = 2, kChunks = 4, kChunk = 128, kS = kChunks * kChunk;
constexpr int64_t kHeads = 16, kDim = 64, kGroups = 4, kState = 128;
constexpr mcore::StateSpace kSpace{kHeads, kDim, kGroups, kState, kChunk, 100};
constexpr int64_t kWidth = kHeads * kDim, kChannels = kWidth + 2 * kGroups * kState;
constexpr int64_t kProjected = kWidth + kChannels + kHeads;

struct Fixture {
  Session session{Backend::cuda, {2, 9, 0}};
  Tensor input(const aten::Shape& sizes) {
    Tensor x = aten::allocate(session, sizes, DType::bf16);
    session.require_grad(x);
    return x;
  }
  Tensor weight(const aten::Shape& sizes) {
    return session.leaf(sizes, DType::bf16, true, 1).value;
  }
  mcore::ScanWeights weights() {
    return {weight({kChannels, 1, 4}), weight({kChannels}), weight({kHeads}), weight({kHeads}),
            weight({kHeads})};
  }
};

// Bytes of a token: of what the convolution gives, of the scan's output, of the products of a chunk
// (C·Bᵀ, fp32 [chunk, chunk] a group), of a step (fp32 a head).
constexpr int64_t kConvolved = 2 * kChannels, kOut = 2 * kWidth;
constexpr int64_t kProducts = 4 * kGroups * kChunk, kStep = 4 * kHeads;
// Of all states, fp32: one a chunk.
constexpr int64_t kStates = 4 * kB * kChunks * kHeads * kDim * kState;

TEST_CASE_FIXTURE(Fixture, "the scan keeps its input and the output before the gate") {
  const Tensor x = input({kB, kS, kProjected});
  const mcore::ScanWeights w = weights();
  const int64_t before = session.ledger.live();
  session.ledger.enter(aten::Phase::forward);
  const Tensor y = mcore::conv_scan(x, w, kSpace);
  session.ledger.leave();
  CHECK(y.sizes() == aten::Shape{kB, kS, kWidth});
  const int64_t small = 3 * 4 * kHeads;  // exp(A_log), A and dt_bias in fp32
  CHECK(session.ledger.level().kept == kB * kS * (2 * kProjected + kOut) + small);
  // At the end: convolved, dA_cumsum and dt, states in bf16 with the last in fp32, products, and
  // both outputs.
  const int64_t last = kStates / kChunks;
  CHECK(session.ledger.peak(aten::Phase::forward).level.bytes - before ==
        kB * kS * (kConvolved + 2 * kStep + kProducts + 2 * kOut) + kStates / 2 + last + small);
}

// Backward's highest moment above what is live before it, of a space whose head is `dim` wide.
int64_t backward_peak(Fixture& f, mcore::StateSpace space) {
  const int64_t projected = space.width() + space.channels() + space.heads;
  const Tensor x = f.input({kB, kS, projected});
  const mcore::ScanWeights w{f.weight({space.channels(), 1, 4}), f.weight({space.channels()}),
                             f.weight({kHeads}), f.weight({kHeads}), f.weight({kHeads})};
  Tensor y = mcore::conv_scan(x, w, space);
  const Tensor gradient = aten::allocate(f.session, y.sizes(), DType::bf16);
  const int64_t before = f.session.ledger.live();
  f.session.ledger.enter(aten::Phase::backward);
  aten::run_backward(f.session, std::move(y), gradient);
  f.session.ledger.leave();
  return f.session.ledger.peak(aten::Phase::backward).level.bytes - before;
}

// All through: the convolution again, the gradients of it and of the input, dt as given and twice
// in fp32, products, the gradient before the gate, the last state.
int64_t always(const mcore::StateSpace& space) {
  const int64_t projected = space.width() + space.channels() + space.heads;
  const int64_t last = 4 * kB * space.width() * kState;
  return kB * kS *
             (4 * space.channels() + 2 * projected + 2 * kHeads + 2 * kStep + kProducts +
              2 * space.width()) +
         last;
}

// Wide heads: states and their gradients in fp32, and both in bf16.
TEST_CASE_FIXTURE(Fixture, "backward makes the states of the chunks again") {
  mcore::StateSpace wide = kSpace;
  wide.head_dim = 256;
  CHECK(backward_peak(*this, wide) == always(wide) + 3 * (4 * kStates));
}

// Narrow ones: states and their gradients in bf16, three steps, the gradients of B and C in fp32,
// and those of the products in parts with their sum. 2·4·16 heads of chunks over 100
// multiprocessors are two a program, so that the four heads of a group are summed in two parts.
TEST_CASE_FIXTURE(Fixture, "backward sums the products' gradients in parts") {
  constexpr int64_t of_group = 4 * kGroups * kState;
  CHECK(backward_peak(*this, kSpace) ==
        always(kSpace) + kStates + kB * kS * (3 * kStep + 2 * of_group + (2 + 1) * kProducts));
}

// x and 1/deviation of each group.
TEST_CASE_FIXTURE(Fixture, "the norm behind the scan keeps its input") {
  const Tensor x = input({kS, kB, kWidth});
  const Tensor y = mcore::gated_norm(x, weight({kWidth}), kSpace);
  CHECK(session.ledger.level().kept == kS * kB * (2 * kWidth + 4 * kGroups));
}

}  // namespace
}  // namespace memplan
