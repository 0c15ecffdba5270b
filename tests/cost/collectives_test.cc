#include "cost/collectives.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "memplan/error.h"

namespace memplan {
namespace {

int64_t sent(Collective collective, int64_t ranks, int64_t message,
             Algorithm wanted = Algorithm::ring) {
  return bytes_sent(collective, wanted, ranks, Bytes(message)).bytes.count();
}

// Ring all-reduce, played: n - 1 steps that reduce, n - 1 that gather; step k sends one chunk.
int64_t play_ring_all_reduce(int64_t ranks, int64_t message) {
  int64_t bytes = 0;
  for (int64_t step = 0; step < 2 * (ranks - 1); ++step) bytes += message / ranks;
  return bytes;
}

// Children of a rank in the binary tree of n ranks whose odd ranks are leaves: rank r with lowest
// set bit b has the children r - b/2 and r + b/2 (or, where that does not exist, the highest rank
// below it that hangs there); rank 0 has one child, the highest power of two below n.
std::vector<int64_t> children(int64_t rank, int64_t ranks) {
  std::vector<int64_t> out;
  int64_t bit = 1;
  while (bit < ranks && (rank & bit) == 0) bit <<= 1;
  if (rank == 0) {
    if (ranks > 1) out.push_back(bit >> 1);
    return out;
  }
  int64_t low = bit >> 1;
  if (low == 0) return out;
  out.push_back(rank - low);
  while (low > 0 && rank + low >= ranks) low >>= 1;
  if (low > 0) out.push_back(rank + low);
  return out;
}

// Halves of the message that the busiest rank sends over both trees.
int64_t play_trees(int64_t ranks) {
  int64_t most = 0;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    // The second tree is the first mirrored (even n) or shifted by one (odd n).
    const int64_t other = ranks % 2 == 0 ? ranks - 1 - rank : (rank + ranks - 1) % ranks;
    int64_t halves = 0;
    for (const int64_t place : {rank, other})
      halves += static_cast<int64_t>(children(place, ranks).size()) + (place == 0 ? 0 : 1);
    most = std::max(most, halves);
  }
  return most;
}

TEST_SUITE("collectives") {
  TEST_CASE("rings, 8 GPUs, 800 bytes") {
    CHECK(sent(Collective::all_reduce, 8, 800) == 1400);
    CHECK(sent(Collective::all_gather, 8, 800) == 700);
    CHECK(sent(Collective::reduce_scatter, 8, 800) == 700);
    CHECK(sent(Collective::broadcast, 8, 800) == 800);
    CHECK(sent(Collective::all_to_all, 8, 800) == 700);
    CHECK(sent(Collective::send_receive, 8, 800) == 800);
  }

  TEST_CASE("an all-reduce is a reduce-scatter and an all-gather") {
    for (const int64_t n : {2, 3, 8, 64}) {
      const int64_t message = 1000 * n;
      CHECK(sent(Collective::all_reduce, n, message) == play_ring_all_reduce(n, message));
      CHECK(sent(Collective::all_reduce, n, message) ==
            sent(Collective::reduce_scatter, n, message) +
                sent(Collective::all_gather, n, message));
    }
  }

  TEST_CASE("trees send as many halves as the busiest node has links") {
    for (int64_t n = 2; n <= 65; ++n) {
      CAPTURE(n);
      CHECK(sent(Collective::all_reduce, n, 200, Algorithm::tree) == 100 * play_trees(n));
    }
  }

  TEST_CASE("only the all-reduce has trees; what was used is told") {
    const auto used = [](Collective c, Algorithm wanted) {
      return bytes_sent(c, wanted, 8, Bytes(800)).algorithm;
    };
    CHECK(used(Collective::all_reduce, Algorithm::tree) == Algorithm::tree);
    CHECK(used(Collective::all_reduce, Algorithm::ring) == Algorithm::ring);
    CHECK(used(Collective::all_gather, Algorithm::tree) == Algorithm::ring);
    CHECK(used(Collective::reduce_scatter, Algorithm::tree) == Algorithm::ring);
    CHECK(used(Collective::broadcast, Algorithm::tree) == Algorithm::ring);
    CHECK(used(Collective::all_to_all, Algorithm::ring) == Algorithm::direct);
    CHECK(used(Collective::send_receive, Algorithm::ring) == Algorithm::direct);
    CHECK(to_string(Algorithm::tree) == "tree");
  }

  TEST_CASE("one GPU sends nothing") {
    for (const Collective c :
         {Collective::all_reduce, Collective::all_gather, Collective::reduce_scatter,
          Collective::all_to_all, Collective::send_receive, Collective::broadcast})
      for (const Algorithm a : {Algorithm::ring, Algorithm::tree}) CHECK(sent(c, 1, 800, a) == 0);
  }

  TEST_CASE("fractions of a byte count as one") {
    CHECK(sent(Collective::all_reduce, 3, 10) == 14);  // 40/3
    CHECK(sent(Collective::all_gather, 3, 10) == 7);   // 20/3
    CHECK(sent(Collective::all_reduce, 3, 1, Algorithm::tree) == 2);
  }

  TEST_CASE("large messages: exact where the result fits, refused where not") {
    constexpr int64_t kLarge = int64_t{1} << 62;
    CHECK(sent(Collective::all_gather, 1024, kLarge) == kLarge - (int64_t{1} << 52));
    CHECK(sent(Collective::all_reduce, 1024, kLarge) == 2 * (kLarge - (int64_t{1} << 52)));
    CHECK_THROWS_AS((void)sent(Collective::all_reduce, 4, kLarge, Algorithm::tree), Error);
  }
}

}  // namespace
}  // namespace memplan
