#include "ops/attention.h"

#include <doctest/doctest.h>

#include "probe.h"

namespace memplan {
namespace {

// b 2, s 16, 4 heads of 8: a·s²·b = 2048 scores, tokens·hidden = 1024.
constexpr int64_t kScores = 4 * 16 * 16 * 2;
constexpr int64_t kStream = 2 * 16 * 32;

int64_t held_by(Probe& probe, double dropout, int64_t kv_heads = 4) {
  Graph g = probe.graph();
  const TensorId q = g.input("q", kStream, DType::bf16);
  const TensorId k = g.input("k", kStream * kv_heads / 4, DType::bf16);
  const TensorId v = g.input("v", kStream * kv_heads / 4, DType::bf16);
  attention(
      g, q, k, v,
      {.heads = 4, .kv_heads = kv_heads, .qk_head_dim = 8, .v_head_dim = 8, .dropout = dropout});
  return held(g);
}

TEST_CASE("unfused attention keeps q, k, v and 5·a·s² with dropout, 2·a·s² without") {
  Probe plain;
  CHECK(held_by(plain, 0.1) == 3 * kStream * 2 + 5 * kScores);
  CHECK(held_by(plain, 0.0) == 3 * kStream * 2 + 2 * kScores);
}

TEST_CASE("flash attention keeps q, k, v, its output and one fp32 a head and token") {
  Probe probe;
  probe.context.attention = AttentionKind::flash;
  CHECK(held_by(probe, 0.1) == 4 * kStream * 2 + 4 * 4 * 32);
  CHECK(held_by(probe, 0.1, 1) == 2 * kStream * 2 + 2 * kStream * 2 / 4 + 4 * 4 * 32);
}

TEST_CASE("forward-only attention keeps nothing") {
  Probe probe;
  probe.context.training = false;
  CHECK(held_by(probe, 0.1) == 0);
}

TEST_CASE("the core's FLOPs are 4·b·s²·h, its backward twice that") {
  Probe g_probe;
  Graph g = g_probe.graph();
  const TensorId x = g.input("x", kStream, DType::bf16);
  attention(g, x, x, x, {.heads = 4, .kv_heads = 4, .qk_head_dim = 8, .v_head_dim = 8});
  double forward = 0, backward = 0;
  for (const Op& op : g.ops) {
    forward += op.flops;
    backward += op.flops_backward;
  }
  CHECK(forward == 4.0 * 2 * 16 * 16 * 32);
  CHECK(backward == 2 * forward);
}

TEST_CASE("context parallelism sends keys and values around, and their gradients back") {
  Probe probe;
  probe.context.cp = 4;
  probe.context.full_sequence = 64;
  Graph g = probe.graph();
  const TensorId x = g.input("x", kStream, DType::bf16);
  attention(g, x, x, x, {.heads = 4, .kv_heads = 4, .qk_head_dim = 8, .v_head_dim = 8});
  Bytes forward, backward;
  for (const Comm& comm : g.comms) (comm.backward ? backward : forward) += comm.bytes;
  CHECK(forward == Bytes(2 * kStream * 2 * 4));
  CHECK(backward == 2 * forward);
}

}  // namespace
}  // namespace memplan
