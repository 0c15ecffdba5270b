#include "ops/linear.h"

#include <doctest/doctest.h>

#include <string>

#include "memplan/error.h"
#include "ops/adapter.h"
#include "probe.h"

namespace memplan {
namespace {

constexpr int64_t kTokens = 32;  // of Probe

TEST_CASE("a trained linear keeps its input and counts 2 FLOPs a multiply-add") {
  Probe g_probe;
  Graph g = g_probe.graph();
  const TensorId x = g.input("x", kTokens * 8, DType::bf16);
  const TensorId y = linear(g, x, {.name = "fc", .in = 8, .out = 24, .bias = true});
  CHECK(g.elements(y) == kTokens * 24);
  CHECK(held(g) == kTokens * 8 * 2);
  CHECK(parameters(g) == 24 * 8 + 24);
  CHECK(g.ops[0].flops == 2.0 * kTokens * 8 * 24);
  CHECK(g.ops[0].flops_backward == 2 * g.ops[0].flops);
  CHECK(g.params[0].name == "fc.weight");
  CHECK(g.params[1].name == "fc.bias");
}

TEST_CASE("three linears on one input keep it once") {
  Probe g_probe;
  Graph g = g_probe.graph();
  const TensorId x = g.input("x", kTokens * 8, DType::bf16);
  for (const char* name : {"q", "k", "v"}) linear(g, x, {.name = name, .in = 8, .out = 8});
  CHECK(held(g) == kTokens * 8 * 2);
}

TEST_CASE("a frozen linear keeps nothing, and its backward is one product") {
  Probe probe;
  probe.context.block_trainable = false;
  Graph g = probe.graph();
  linear(g, g.input("x", kTokens * 8, DType::bf16), {.name = "fc", .in = 8, .out = 8});
  CHECK(held(g) == 0);
  CHECK(g.ops[0].flops_backward == g.ops[0].flops);
}

TEST_CASE("column and row cuts divide the right side of the matrix") {
  Probe probe;
  probe.context.tp = 4;
  Graph g = probe.graph();
  const TensorId x = g.input("x", kTokens * 8, DType::bf16);
  const TensorId up =
      linear(g, x, {.name = "up", .in = 8, .out = 16, .bias = true, .cut = Cut::dim0});
  CHECK(g.elements(up) == kTokens * 4);
  const TensorId down =
      linear(g, up, {.name = "down", .in = 16, .out = 8, .bias = true, .cut = Cut::dim1});
  CHECK(g.elements(down) == kTokens * 8);
  CHECK(g.params[0].local_elements() == 4 * 8);  // up.weight
  CHECK(g.params[1].local_elements() == 4);      // up.bias is cut with its rows
  CHECK(g.params[2].local_elements() == 8 * 4);  // down.weight
  CHECK(g.params[3].local_elements() == 8);      // down.bias is whole on each rank
}

TEST_CASE("a transposed weight is cut on the same mathematical side") {
  Probe probe;
  probe.context.tp = 2;
  Graph g = probe.graph();
  linear(g, g.input("x", kTokens * 8, DType::bf16),
         {.name = "c_fc", .in = 8, .out = 32, .cut = Cut::dim0, .transposed = true});
  CHECK(g.params[0].shape[0] == 8);
  CHECK(g.params[0].shape[1] == 32);
  CHECK(g.params[0].cut == Cut::dim1);
  CHECK(g.params[0].local_elements() == 8 * 16);
}

TEST_CASE("Megatron's f and g: one all-reduce each, of the whole tensor") {
  Probe probe;
  probe.context.tp = 4;
  Graph g = probe.graph();
  const TensorId x = enter_tensor_parallel(g, g.input("x", kTokens * 8, DType::bf16));
  leave_tensor_parallel(g, x);
  REQUIRE(g.comms.size() == 2);
  for (const Comm& comm : g.comms) {
    CHECK(comm.collective == Collective::all_reduce);
    CHECK(comm.bytes == Bytes(kTokens * 8 * 2));
  }
  CHECK(g.comms[0].backward);
  CHECK_FALSE(g.comms[1].backward);
}

TEST_CASE("sequence parallelism keeps the shard and gathers it again in backward") {
  Probe probe;
  probe.context.tp = 4;
  probe.context.sequence_parallel = true;
  Graph g = probe.graph();
  const TensorId shard = g.input("x", kTokens * 8 / 4, DType::bf16);
  const TensorId x = enter_tensor_parallel(g, shard);
  CHECK(g.elements(x) == kTokens * 8);
  linear(g, x, {.name = "up", .in = 8, .out = 16, .cut = Cut::dim0});
  CHECK(held(g) == kTokens * 8 * 2 / 4);
  int forward = 0, backward = 0;
  for (const Comm& comm : g.comms) (comm.backward ? backward : forward) += 1;
  CHECK(forward == 1);   // gather
  CHECK(backward == 2);  // gather again, reduce-scatter
}

TEST_CASE("a frozen linear keeps nothing, so its input is not gathered again") {
  Probe probe;
  probe.context.tp = 4;
  probe.context.sequence_parallel = true;
  probe.context.block_trainable = false;
  Graph g = probe.graph();
  const TensorId x = enter_tensor_parallel(g, g.input("x", kTokens * 8 / 4, DType::bf16));
  linear(g, x, {.name = "up", .in = 8, .out = 16, .cut = Cut::dim0});
  REQUIRE(g.comms.size() == 2);
  CHECK(g.comms[0].collective == Collective::all_gather);
  CHECK_FALSE(g.comms[0].backward);
  CHECK(g.comms[1].collective == Collective::reduce_scatter);
  CHECK(g.comms[1].backward);
}

TEST_CASE("of a replicated product each tensor-parallel rank's share is the model's") {
  Probe probe;
  probe.context.tp = 4;
  const auto share = [&](int64_t tokens, Cut cut, int64_t parts) {
    Graph g = probe.graph();
    linear(g, g.input("x", tokens * 8, DType::bf16),
           {.name = "up", .in = 8, .out = 16, .cut = cut, .parts = parts});
    return g.ops.front().share;
  };
  CHECK(share(kTokens, Cut::replicated, 0) == 0.25);
  CHECK(share(kTokens, Cut::dim0, 4) == 1);
  CHECK(share(kTokens, Cut::dim0, 2) == 0.5);  // two key-value heads on four ranks
  probe.context.sequence_parallel = true;
  CHECK(share(kTokens / 4, Cut::replicated, 0) == 1);  // other ranks do other tokens
  CHECK(share(kTokens, Cut::replicated, 0) == 0.25);   // gathered before: a LoRA A
}

TEST_CASE("LoRA trains r·(in + out) and keeps its input and the r-wide product") {
  Probe probe;
  probe.peft.kind = PeftKind::lora;
  probe.peft.rank = 4;
  probe.peft.targets = {"q_proj"};
  Graph g = probe.graph();
  const TensorId x = g.input("x", kTokens * 8, DType::bf16);
  linear(g, x, {.name = "self_attn.q_proj", .in = 8, .out = 16});
  linear(g, x, {.name = "self_attn.k_proj", .in = 8, .out = 16});
  CHECK(parameters(g, true) == 4 * (8 + 16));
  CHECK(held(g) == kTokens * (8 + 4) * 2);
}

TEST_CASE("merged LoRA is the model itself") {
  Probe probe;
  probe.peft = {.kind = PeftKind::lora,
                .merged = true,
                .targets = {"all-linear"},
                .rank_pattern = {},
                .modules_to_save = {}};
  probe.context.training = false;
  Graph g = probe.graph();
  linear(g, g.input("x", kTokens * 8, DType::bf16), {.name = "q_proj", .in = 8, .out = 8});
  CHECK(parameters(g) == 64);
}

TEST_CASE("no pattern hangs, and what is no pattern is refused") {
  PeftSpec peft;
  peft.kind = PeftKind::lora;
  peft.targets = {"(a*)*b"};
  CHECK_FALSE(PeftTargets(peft).adapts(std::string(60, 'a'), ModuleForm::linear));
  peft.targets = {"(q_proj"};
  CHECK_THROWS_AS(PeftTargets{peft}, Error);
}

}  // namespace
}  // namespace memplan
