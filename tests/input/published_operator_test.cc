#include "input/published_operator.h"

#include <doctest/doctest.h>

#include <string>

namespace memplan {
namespace {

MeasuredCase read(const std::string& op, const std::string& provider, const std::string& version) {
  const std::string sizes =
      R"({\"B\": 4, \"hidden_size\": 64, \"intermediate_size\": 96, \"dtype\": \"torch.bfloat16\"})";
  const std::string text = R"({"kind": "op_memory", "framework_version": ")" + version +
                           R"(", "gpu": "NVIDIA A100-SXM4-80GB", "model": {"op": ")" + op +
                           R"(", "provider": ")" + provider + R"(", "T": "2048", "config": ")" +
                           sizes + R"("}, "measured": {"op_peak_memory_mb": 1.5}})";
  const JsonDocument document(text, "p.jsonl:1");
  MeasuredCase out;
  REQUIRE(is_operator_record(document.root()));
  read_operator_record(document.root(), out);
  return out;
}

TEST_CASE("a benchmark's sizes come from the swept value and from its configuration") {
  const MeasuredCase one = read("swiglu", "liger", "liger 0.2.1");
  REQUIRE_MESSAGE(one.bench, one.refused);
  CHECK(one.bench->kind == OperatorBench::Kind::gated_mlp);
  CHECK(one.bench->liger);
  CHECK(one.bench->tokens == 4 * 2048);
  CHECK(one.bench->width == 64);
  CHECK(one.bench->inner == 96);
  CHECK(one.bench->dtype == DType::bf16);
  CHECK(one.bench->gpu.name == "a100-80g");
  REQUIRE(one.figures.size() == 1);
  CHECK(one.figures[0].value == FigureValue(1.5 * 1048576));
}

TEST_CASE("benchmarks that are not run are refused by name") {
  CHECK(read("softmax", "liger", "liger 0.2.1").refused.find("softmax") != std::string::npos);
  CHECK(read("swiglu", "torch_compile", "liger 0.2.1").refused.find("torch_compile") !=
        std::string::npos);
  CHECK(read("rms_norm", "liger", "liger 0.2.1").refused.find("0.2.1") != std::string::npos);
}

}  // namespace
}  // namespace memplan
