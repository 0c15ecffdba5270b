#include "cost/replica.h"

#include <doctest/doctest.h>

#include "ops/aten/ops.h"

namespace memplan {
namespace {

using aten::Phase;
using aten::Tensor;

constexpr int64_t kM = 1 << 20;

// Chunks of 8 (copied), 12 and 3 MiB.
std::vector<FlatTensor> params() {
  return {
      {5 * kM, DType::bf16}, {3 * kM, DType::bf16}, {12 * kM, DType::bf16}, {3 * kM, DType::bf16}};
}

struct On {
  aten::Session session{Backend::cuda, Version{2, 14, 1}};
  ReplicaStep replica;
  explicit On(Replica role, int64_t frozen = 0) : replica(session, role, 4, params(), frozen) {
    session.ledger.enter(Phase::backward);
  }
  const aten::Peak& peak() {
    session.ledger.leave();
    CHECK(session.ledger.live() == 0);
    return session.ledger.peak(Phase::backward);
  }
};

TEST_CASE("GPU 0 copies the parameters chunk by chunk, and views those that travel alone") {
  On first(Replica::first);
  first.replica.broadcast();
  CHECK(first.peak().level.bytes == 8 * kM);
  On other(Replica::other);
  other.replica.broadcast();
  CHECK(other.peak().level.bytes == 0);
}

TEST_CASE("GPU 0 makes a second set of gradients, the others a copy of a chunk") {
  On first(Replica::first);
  first.replica.reduce();
  CHECK(first.peak().level.bytes == (8 + 12 + 3) * kM);
  CHECK(first.peak().at == "aten.empty_like.default");
  On other(Replica::other);
  other.replica.reduce();
  CHECK(other.peak().level.bytes == 8 * kM);
}

TEST_CASE("what is frozen is added up as zeros") {
  On first(Replica::first, 12 * kM);
  first.replica.reduce();
  CHECK(first.peak().level.bytes == (12 + 8 + 12 + 3) * kM);
}

TEST_CASE("outputs of all replicas meet on GPU 0; the others' are gone") {
  On first(Replica::first);
  Tensor logits = aten::allocate(first.session, {2, 8, 16}, DType::bf16);
  Tensor loss = aten::allocate(first.session, {}, DType::f32), none;
  first.replica.gather({&loss, &logits, &none});
  CHECK(first.session.ledger.live() == 4 * (2 * 8 * 16 * 2 + 4));
  CHECK(logits.size(0) == 8);
  CHECK(loss.size(0) == 4);
  logits.reset();
  loss.reset();
  CHECK(first.peak().level.bytes == 5 * (2 * 8 * 16 * 2 + 4));

  On other(Replica::other);
  Tensor own = aten::allocate(other.session, {2, 8}, DType::bf16);
  other.replica.gather({&own});
  CHECK(other.session.ledger.live() == 0);
}

}  // namespace
}  // namespace memplan
