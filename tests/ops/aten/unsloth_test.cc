#include "ops/aten/unsloth.h"

#include <doctest/doctest.h>

namespace memplan::aten {
namespace {

constexpr int64_t kGi = int64_t{1} << 30;

TEST_CASE("a chunk of logits has 2 GiB, or half of what is free") {
  CHECK(unsloth::chunk_budget({}) == 2 * kGi);
  CHECK(unsloth::chunk_budget(60 * kGi) == 2 * kGi);
  CHECK(unsloth::chunk_budget(4 * kGi) == 2 * kGi);
  CHECK(unsloth::chunk_budget(3 * kGi) == 3 * kGi / 2);
  CHECK(unsloth::chunk_budget(1) == 1);
  CHECK(unsloth::chunk_budget(0) == 2 * kGi);  // as where nobody says
}

TEST_CASE("a chunk has about as many logits as there are hidden states") {
  // Llama 3.1 8B: 65536 · 4096 / 128256 = 2093 -> 2048
  CHECK(unsloth::chunk_rows(65536, 4096, 128256, 2 * kGi) == 2048);
  // 8192 · 4096 / 128256 = 261, less than 512 · 151936 / 128256 = 606 -> 512
  CHECK(unsloth::chunk_rows(8192, 4096, 128256, 2 * kGi) == 512);
  // Llama 2: 512 · 151936 / 32000 = 2430 -> 2048, of 1000 rows all
  CHECK(unsloth::chunk_rows(8192, 4096, 32000, 2 * kGi) == 2048);
  CHECK(unsloth::chunk_rows(1000, 4096, 32000, 2 * kGi) == 1000);
  // 2^18 · 8192 / 151936 = 14134 -> 4096 at most; 2 GiB hold 3533 rows, 10 MiB 17, nothing 2.
  CHECK(unsloth::chunk_rows(1 << 18, 8192, 151936, 2 * kGi) == 3533);
  CHECK(unsloth::chunk_rows(1 << 18, 8192, 151936, 10 << 20) == 17);
  CHECK(unsloth::chunk_rows(1 << 18, 8192, 151936, 1) == 2);
}

TEST_CASE("tiles have 256 MiB, and 16384 columns on a small GPU") {
  const auto is = [](unsloth::Tile tile, int64_t rows, int64_t columns) {
    return tile.rows == rows && tile.columns == columns;
  };
  CHECK(is(unsloth::tile(100000, 128256, 2 * kGi, false), 4096, 16384));
  // 2^28 / (1024 · 4) = 65536 columns
  CHECK(is(unsloth::tile(1024, 128256, 2 * kGi, false), 1024, 65536));
  CHECK(is(unsloth::tile(1024, 128256, 2 * kGi, true), 1024, 16384));
  CHECK(is(unsloth::tile(100000, 128256, 64 << 20, false), 1024, 16384));
  CHECK(is(unsloth::tile(10, 40000, 2 * kGi, false), 10, 3 * 16384));  // all columns
}

struct Loss {
  Session session{Backend::cuda, {2, 14, 1}};
  int64_t rows = 600, kept = 598, width = 64, vocabulary = 40000;
  Leaf& x = session.leaf({rows, width}, DType::bf16, true, 1);
  Tensor hidden = mul_scalar(x.value);
  Tensor targets = allocate(session, {rows}, DType::i64);

  // What the operator adds at most, and what it leaves.
  std::pair<int64_t, int64_t> forward(bool train_head, const unsloth::Device& device) {
    Leaf& weight = session.leaf({vocabulary, width}, DType::bf16, train_head, 1);
    const int64_t before = session.ledger.live();
    session.ledger.enter(Phase::forward);
    out = unsloth::fused_linear_cross_entropy(hidden, weight.value, targets, kept, device);
    session.ledger.leave();
    return {session.ledger.peak(Phase::forward).level.bytes - before,
            session.ledger.live() - before};
  }
  Tensor out;
};

TEST_CASE("the gradients of hidden states and head are all that stays") {
  Loss loss;
  const auto [peak, left] = loss.forward(true, {});
  const int64_t grad_x = 600 * 64 * 2, grad_head = 40000 * 64 * 2;
  CHECK(left == grad_x + grad_head + 4 + 4);  // loss and scale
  // All logits in fp32, 598 of at most 1024 rows, and little else.
  const int64_t logits = 598 * 40000 * 4;
  CHECK(peak > grad_x + grad_head + logits);
  CHECK(peak < grad_x + grad_head + logits * 101 / 100);
}

TEST_CASE("a frozen head is read in tiles, on a large GPU from 4096 rows on") {
  const int64_t chunk = 598 * 40000 * 4, tile = 598 * 16384 * 4;
  CHECK(Loss().forward(false, {}).first > chunk);
  const int64_t small = Loss().forward(false, {.small = true}).first;
  CHECK(small > tile);
  CHECK(small < chunk);
  CHECK(Loss().forward(false, {.small = true, .compute_major = 7}).first > chunk);
}

TEST_CASE("little free memory makes small chunks") {
  Loss loss;
  // 1 MiB is left above what lives: half of it holds 3 rows of logits.
  const int64_t live = loss.session.ledger.live() + 600 * 64 * 2 + loss.vocabulary * 64 * 2;
  const int64_t peak = loss.forward(false, {.capacity = live + (1 << 20)}).first;
  CHECK(peak < 600 * 64 * 2 + 4 * 40000 * 4 + (64 << 10));
}

}  // namespace
}  // namespace memplan::aten
