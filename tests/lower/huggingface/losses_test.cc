#include "lower/huggingface/losses.h"

#include <doctest/doctest.h>

namespace memplan::hf {
namespace {

using aten::Phase;
using aten::Session;

constexpr int64_t kTokens = 8, kWidth = 4, kVocabulary = 10;

// A head in bf16 over one sample of eight tokens; what lives before the loss is not counted.
struct Bench {
  Session session{Backend::cuda, {2, 14, 1}};
  aten::Leaf& weight = session.leaf({kVocabulary, kWidth}, DType::bf16, true, 1);
  aten::Leaf& input = session.leaf({1, kTokens, kWidth}, DType::bf16, true, 1);
  Tensor labels = aten::allocate(session, {1, kTokens}, DType::i64);
  Head head = [this](const Tensor& x) { return aten::linear(x, weight.value, {}); };
  int64_t before = session.ledger.live();

  Bench() { session.ledger.enter(Phase::forward); }
  int64_t live() const { return session.ledger.live() - before; }
  int64_t peak() {
    session.ledger.leave();
    return session.ledger.peak(Phase::forward).level.bytes - before;
  }
};

TEST_CASE("torch's three ways to cut a dimension") {
  using Lengths = std::vector<int64_t>;
  CHECK(chunk_lengths(10, 4) == Lengths{3, 3, 3, 1});
  CHECK(chunk_lengths(9, 8) == Lengths{2, 2, 2, 2, 1});  // fewer than asked for
  CHECK(split_lengths(10, 4) == Lengths{4, 4, 2});
  CHECK(tensor_split_lengths(10, 4) == Lengths{3, 3, 2, 2});
}

TEST_CASE("torchtune keeps fp32 log-probabilities of all chunks, and up-casts one at a time") {
  Bench b;
  Tensor loss;
  {
    const std::vector<Tensor> logits = torchtune_chunked_output(b.input.value, b.head, 2);
    CHECK(b.live() == kTokens * kVocabulary * 2);
    loss = torchtune_chunked_loss(logits, torchtune_shifted_labels(b.labels));
  }
  // log-probabilities, shifted labels, two total weights, the tokens' number, the loss
  const int64_t kept = kTokens * kVocabulary * 4 + kTokens * 8 + 2 * 4 + 8 + 4;
  CHECK(b.live() == kept);
  // Before: all logits, the up-cast of one chunk, that chunk's own loss.
  CHECK(b.peak() == kept + kTokens * kVocabulary * 2 + kTokens / 2 * kVocabulary * 4 + 4);
}

TEST_CASE("torchtune's linear loss holds the logits of one chunk") {
  Bench b;
  const Tensor loss = torchtune_linear_loss(b.input.value, b.labels, b.head, 2);
  // log-probabilities, the rows and labels that count, their numbers, total weights, sum and mean
  const int64_t rows = kTokens * kWidth * 2 + kTokens * 8 + kTokens * 8;
  CHECK(b.live() == kTokens * kVocabulary * 4 + rows + 2 * 4 + 4);
  // The last chunk's logits, twice; its loss and the one before. The sum is there, its mean not
  // yet.
  CHECK(b.peak() == b.live() + kTokens / 2 * kVocabulary * (2 + 4) + 2 * 4);
}

TEST_CASE("torchtitan's chunks leave the head's gradient behind and no logits") {
  Bench b;
  const Tensor tokens = aten::allocate(b.session, {}, DType::i64);
  const Tensor hidden = aten::mul_scalar(b.input.value);
  const int64_t start = b.live();
  const Tensor loss = torchtitan_chunked_loss(hidden, b.labels, tokens, b.head, 4);
  REQUIRE(b.weight.grad);
  CHECK_FALSE(b.input.grad);
  // the head's gradient, that of the hidden states in bf16, the loss
  CHECK(b.live() - start == kVocabulary * kWidth * 2 + kTokens * kWidth * 2 + 4);
  aten::run_backward(b.session, loss);
  CHECK(b.input.grad);
}

TEST_CASE("torchtitan's chunks leave other tensors that ask for gradients on the tape") {
  Bench b;
  Tensor embedded = aten::allocate(b.session, {1, kTokens, kWidth}, DType::bf16);
  b.session.require_grad(embedded);
  const Tensor tokens = aten::allocate(b.session, {}, DType::i64);
  const Tensor hidden = aten::mul_scalar(embedded);
  const Tensor loss = torchtitan_chunked_loss(hidden, b.labels, tokens, b.head, 4);
  CHECK_FALSE(embedded->leaf->grad);
  aten::run_backward(b.session, loss);
  CHECK(embedded->leaf->grad);
}

TEST_CASE("litgpt's chunks of 128 tokens keep fp32 log-probabilities and a mean of all losses") {
  Session session{Backend::cuda, {2, 14, 1}};
  const aten::Leaf& scores = session.leaf({1, 130, kVocabulary}, DType::f32, true, 1);
  const Tensor targets = aten::allocate(session, {1, 130}, DType::i64);
  const int64_t before = session.ledger.live();
  const Tensor loss = litgpt_chunked_loss(scores.value, targets);
  // log-probabilities, two total weights, the divisor, the loss
  CHECK(session.ledger.live() - before == 130 * kVocabulary * 4 + 2 * 4 + 8 + 4);
}

}  // namespace
}  // namespace memplan::hf
