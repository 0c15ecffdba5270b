// What Megatron-core's modules keep of a micro-batch, by pencil.
#include <doctest/doctest.h>

#include "ops/aten/autograd.h"
#include "ops/aten/ops.h"
#include "ops/mcore/attention.h"
#include "ops/mcore/cross_entropy.h"
#include "ops/mcore/linear.h"
#include "ops/mcore/pointwise.h"
#include "ops/mcore/routing.h"

namespace memplan {
namespace {

using aten::Session;
using aten::Tensor;
using mcore::Group;

constexpr int64_t kS = 64, kB = 2, kH = 256, kTokens = kS * kB;

struct Fixture {
  Session session{Backend::cuda, {2, 9, 0}};
  Tensor input(int64_t rows, int64_t width) {
    Tensor x = aten::allocate(session, {rows, kB, width}, DType::bf16);
    session.require_grad(x);
    return x;
  }
  Tensor weight(int64_t out, int64_t in) {
    return session.leaf({out, in}, DType::bf16, true, 1).value;
  }
  mcore::Norm norm() {
    return {session.leaf({kH}, DType::bf16, true, 1).value,
            session.leaf({kH}, DType::bf16, true, 1).value};
  }
  int64_t kept() const { return session.ledger.level().kept; }
};

// x (a shard under sequence parallelism), its norm, mean and 1/deviation in fp32.
TEST_CASE_FIXTURE(Fixture, "a norm and a column-parallel layer keep shards") {
  const Group group{.size = 4, .sequence_parallel = true};
  const Tensor x = input(kS / 4, kH);
  const Tensor y = mcore::norm_column_linear(x, norm(), weight(3 * kH / 4, kH), {}, group);
  CHECK(y.sizes() == aten::Shape{kS, kB, 3 * kH / 4});
  CHECK(kept() == 2 * (kTokens / 4 * kH * 2) + 2 * (kTokens / 4 * 4));
}

TEST_CASE_FIXTURE(Fixture, "a row-parallel layer keeps its input and gives a shard") {
  const Group group{.size = 4, .sequence_parallel = true};
  const Tensor x = input(kS, kH / 4);
  const Tensor y = mcore::row_linear(x, weight(kH, kH / 4), group);
  CHECK(y.sizes() == aten::Shape{kS / 4, kB, kH});
  CHECK(kept() == kTokens * kH / 4 * 2);
}

// In fp8 the norm's output is one byte an element, by rows (the shard, gathered again) or by
// columns.
TEST_CASE_FIXTURE(Fixture, "fp8: a norm and a column-parallel layer keep a byte an element") {
  for (const int64_t tp : {1, 4}) {
    const Group group{.size = tp, .sequence_parallel = true, .fp8 = true, .fp8_transposes = true};
    const int64_t before = kept();
    const Tensor x = input(kS / tp, kH);
    const Tensor y = mcore::norm_column_linear(x, norm(), weight(3 * kH / tp, kH), {}, group);
    CHECK(y.dtype() == DType::bf16);
    CHECK(kept() - before == kTokens / tp * kH * (2 + 1) + 2 * (kTokens / tp * 4));
  }
}

// The norm's output in 16 bits is there only where its own maximum scales it; then, with the fp8
// one, it is more than a narrow product's output.
TEST_CASE_FIXTURE(Fixture, "fp8: with a scale of earlier steps a norm writes fp8") {
  const auto peak = [](bool delayed) {
    Fixture f;
    const Group group{.fp8 = true, .fp8_delayed = delayed};
    const Tensor x = f.input(kS, kH);
    const Tensor weight = f.weight(64, kH);
    const mcore::Norm norm = f.norm();
    const int64_t before = f.session.ledger.live();
    f.session.ledger.enter(aten::Phase::forward);
    const Tensor y = mcore::norm_column_linear(x, norm, weight, {}, group);
    f.session.ledger.leave();
    return f.session.ledger.peak(aten::Phase::forward).level.bytes - before;
  };
  constexpr int64_t statistics = 2 * kTokens * 4;
  CHECK(peak(true) == statistics + kTokens * (kH + 2 * 64));
  CHECK(peak(false) == statistics + kTokens * (kH + 2 * kH));
}

// Backward of a layer that is not divided, above what is live before it: the gradient's two copies
// in fp8, the gradient of the norm's output, the weight's, and at the end the input's beside them
// without the copies.
TEST_CASE_FIXTURE(Fixture, "fp8: copies that backward reads") {
  const auto peak = [](bool transposes) {
    Fixture f;
    const Group group{.fp8 = true, .fp8_transposes = transposes};
    const Tensor x = f.input(kS, kH);
    Tensor y = mcore::row_linear(x, f.weight(8 * kH, kH), group);
    const Tensor gradient = aten::allocate(f.session, y.sizes(), DType::bf16);
    const int64_t before = f.session.ledger.live();
    f.session.ledger.enter(aten::Phase::backward);
    aten::run_backward(f.session, std::move(y), gradient);
    f.session.ledger.leave();
    return f.session.ledger.peak(aten::Phase::backward).level.bytes - before;
  };
  constexpr int64_t gradients = 2 * kTokens * kH + 2 * 8 * kH * kH;
  CHECK(peak(false) == gradients + kTokens * 8 * kH);
  CHECK(peak(true) == gradients + 2 * kTokens * 8 * kH);
}

// Userbuffers hold what is gathered and what is summed; a shard is a tensor.
TEST_CASE_FIXTURE(Fixture, "overlapped layers allocate shards alone") {
  const auto peak = [](bool overlap) {
    Fixture f;
    const Group group{.size = 4, .sequence_parallel = true, .overlap = overlap};
    const Tensor x = f.input(kS, kH / 4);
    const Tensor weight = f.weight(kH, kH / 4);
    const int64_t before = f.session.ledger.live();
    f.session.ledger.enter(aten::Phase::forward);
    const Tensor y = mcore::row_linear(x, weight, group);
    f.session.ledger.leave();
    return f.session.ledger.peak(aten::Phase::forward).level.bytes - before;
  };
  constexpr int64_t whole = kTokens * kH * 2;
  CHECK(peak(false) == whole + whole / 4);
  CHECK(peak(true) == whole / 4);
}

// Two experts of eight a token. An index of a row is 8 bytes; fused, Transformer Engine's map is
// 4·(2·8 + 1) bytes a token. Both ways read it in backward, and the rows are no one's.
TEST_CASE_FIXTURE(Fixture, "tokens that go to their experts and back keep the way alone") {
  for (const bool fused : {false, true}) {
    const Tensor x = aten::reshape(input(kS, kH), {kTokens, kH});
    const Tensor map = mcore::row_map(session, kTokens, 2 * kTokens, 8, fused);
    const int64_t before = kept();
    Tensor rows = mcore::permute(x, 2 * kTokens, map);
    CHECK(rows.sizes() == aten::Shape{2 * kTokens, kH});
    const Tensor home = mcore::unpermute(rows, kTokens, map);
    rows.reset();
    CHECK(home.sizes() == aten::Shape{kTokens, kH});
    CHECK(kept() - before == kTokens * (fused ? 4 * 17 : 2 * 8));
  }
}

// Softmax and its dropout in 2 bytes, the mask in 1: 5·b·heads·s²; with q, k and v.
TEST_CASE_FIXTURE(Fixture, "unfused attention keeps the scores") {
  constexpr int64_t heads = 4, d = kH / heads;
  const Tensor mixed = input(kS, 3 * kH);
  const mcore::Heads qkv = mcore::split_heads(mixed, heads, heads, d);
  const Tensor out = mcore::core_attention(
      qkv.q, qkv.k, qkv.v, {.backend = mcore::AttentionBackend::unfused, .dropout = 0.1}, {});
  CHECK(out.sizes() == aten::Shape{kS, kB, kH});
  CHECK(kept() == 5 * kB * heads * kS * kS + kTokens * 3 * kH * 2);
}

// q, k, v as they lie, the output, and a statistic a row in fp32.
TEST_CASE_FIXTURE(Fixture, "cuDNN's attention keeps what it read and wrote") {
  constexpr int64_t heads = 4, d = kH / heads;
  const Tensor mixed = input(kS, 3 * kH);
  const mcore::Heads qkv = mcore::split_heads(mixed, heads, heads, d);
  const Tensor out =
      mcore::core_attention(qkv.q, qkv.k, qkv.v, {.backend = mcore::AttentionBackend::fused}, {});
  CHECK(kept() == kTokens * 4 * kH * 2 + kTokens * heads * 4);
}

// flash-attn's q, k, v, output, which is copied once more for the projection, and its statistics.
TEST_CASE_FIXTURE(Fixture, "flash-attn keeps copies of its own") {
  constexpr int64_t heads = 4, d = kH / heads;
  const Tensor mixed = input(kS, 3 * kH);
  const mcore::Heads qkv = mcore::split_heads(mixed, heads, heads, d);
  const int64_t before = session.ledger.live();
  const Tensor out =
      mcore::core_attention(qkv.q, qkv.k, qkv.v, {.backend = mcore::AttentionBackend::flash}, {});
  CHECK(out->storage->kept == false);
  CHECK(kept() >= kTokens * 4 * kH * 2 + kTokens * heads * 4);
  CHECK(session.ledger.live() - before >= kTokens * 5 * kH * 2);
}

TEST_CASE_FIXTURE(Fixture, "bias, dropout and residual keep the mask alone") {
  const Tensor x = input(kS, kH), residual = input(kS, kH);
  const Tensor bias = session.leaf({kH}, DType::bf16, true, 1).value;
  const Tensor y = mcore::bias_dropout_add(x, bias, residual, 0.1);
  CHECK(kept() == kTokens * kH);
  const Tensor z = mcore::bias_dropout_add(x, bias, residual, 0);
  CHECK(kept() == kTokens * kH);
}

TEST_CASE_FIXTURE(Fixture, "a gated activation keeps gate and up") {
  const Tensor x = input(kS, 2 * kH);
  const Tensor y = mcore::bias_activation(x, {}, true);
  CHECK(y.size(-1) == kH);
  CHECK(kept() == kTokens * 2 * kH * 2);
}

// The fp32 softmax, whose place the gradient takes; a mask of bytes and an index of 8 a token.
TEST_CASE_FIXTURE(Fixture, "cross-entropy keeps one fp32 copy of the logits") {
  constexpr int64_t vocab = 1024;
  const Tensor labels = aten::allocate(session, {kS, kB}, DType::i64);
  const Tensor logits = input(kS, vocab);
  const int64_t before = session.ledger.live();
  const Tensor loss =
      mcore::cross_entropy(logits, labels, MegatronSpec::CrossEntropy::vocab_parallel, {2, 14, 0});
  CHECK(kept() == kTokens * (4 * vocab + 1 + 8));
  CHECK(session.ledger.live() - before == kTokens * (4 * vocab + 1 + 8 + 4));
}

TEST_CASE_FIXTURE(Fixture, "Transformer Engine's cross-entropy overwrites the logits before 2.18") {
  constexpr int64_t vocab = 1024;
  const Tensor labels = aten::allocate(session, {kS, kB}, DType::i64);
  const Tensor logits = input(kS, vocab);
  const Tensor loss =
      mcore::cross_entropy(logits, labels, MegatronSpec::CrossEntropy::fused_te, {2, 17, 0});
  CHECK(kept() == kTokens * 2 * vocab);
  const Tensor later =
      mcore::cross_entropy(logits, labels, MegatronSpec::CrossEntropy::fused_te, {2, 18, 0});
  CHECK(kept() == kTokens * (2 + 4) * vocab);
}

}  // namespace
}  // namespace memplan
