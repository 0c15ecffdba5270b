#include "input/published_case.h"

#include <doctest/doctest.h>

#include <algorithm>

namespace memplan {
namespace {

constexpr std::string_view kModel =
    R"("model": {"name": "Llama-2-7B", "layers": 2, "hidden": 64, "heads": 4, "kv_heads": 4,
    "ffn": 128, "vocab": 100, "tied_embeddings": false, "seq": 300})";

std::string litgpt(const std::string& more,
                   const std::string& precision = "bf16-true (weights bf16)") {
  return R"({"id": "r", "kind": "memory+params", "source": {"repo": "Lightning-AI/litgpt",
    "file": "tutorials/resource-tables.md"}, "framework": "litgpt",
    "framework_version": "lit-gpt 8641822 (2023-10), torch 2.1.0+cu121, bnb 0.41.1", )" +
         std::string(kModel) + R"(, "n_gpus": 1, "optimizer": "AdamW on trainable params",
    "recompute": "none", "precision": ")" +
         precision + '"' + more +
         R"(, "measured": {"trainable_params": 77, "peak_allocated_gb": 2.5, "iter_ms": 3.5}})";
}

constexpr const char* kLora =
    R"(, "micro_batch": 2, "peft": {"method": "lora", "rank": 8, "alpha": 16, "dropout": 0.05,
    "targets": "query,value"})";

MeasuredCase read(const std::string& text) {
  const JsonDocument document(text, "p.jsonl:1");
  REQUIRE(is_published(document.root()));
  return read_published(document.root());
}

TEST_CASE("a litgpt record is a job of its script") {
  const MeasuredCase one = read(litgpt(kLora));
  REQUIRE_MESSAGE(one.job, one.refused);
  const Strategy& s = one.job->strategy;
  CHECK(one.source == "Lightning-AI/litgpt");
  CHECK(s.framework == Framework::litgpt);
  CHECK(one.job->model.implementation == Implementation::litgpt);
  CHECK(s.micro_batch == 2);
  CHECK(s.sequence == 300);
  CHECK(s.torch == Version{2, 1, 0});
  CHECK(s.precision.name == "bf16");
  CHECK(s.quantization.kind == QuantKind::none);
  CHECK(s.peft.kind == PeftKind::litgpt_lora);
  CHECK(s.peft.targets == std::vector<std::string>{"query", "value"});
  CHECK(one.job->model.family == "llama");
  CHECK(one.job->model.ffn == 128);
}

TEST_CASE("figures have their source's unit; times of an iteration are none") {
  const MeasuredCase one = read(litgpt(kLora));
  REQUIRE(one.figures.size() == 2);
  CHECK(one.figures[0].value == FigureValue(int64_t{77}));
  CHECK(one.figures[1].figure == "allocated");
  CHECK(one.figures[1].value == FigureValue(2.5e9));
}

TEST_CASE("quantized base weights are read from the precision's text") {
  const MeasuredCase one = read(litgpt(kLora, "bf16-true (weights bf16) + bnb.nf4-dq"));
  REQUIRE(one.job);
  CHECK(one.job->strategy.quantization.kind == QuantKind::nf4);
  CHECK(one.job->strategy.quantization.double_quant);
}

TEST_CASE("what a record leaves out is refused, not guessed") {
  CHECK(read(litgpt("")).refused == "the record does not say the micro-batch");
  CHECK(read(litgpt(R"(, "micro_batch": 1, "peft": {"method": "prefix"})")).refused ==
        "litgpt's prefix is not modelled");
  CHECK(read(litgpt(kLora, "int9")).refused == "precision 'int9' is not modelled");
}

TEST_CASE("records of other sources are refused by their framework, formulas by their kind") {
  const std::string rest =
      R"(, "framework": "megatron-deepspeed", "measured": {"peak_allocated_gib": 1}})";
  const MeasuredCase megatron =
      read(R"({"id": "m", "kind": "memory", "source": {"repo": "bigscience-workshop/bigscience"})" +
           rest);
  CHECK(megatron.refused == "framework megatron-deepspeed is not modelled yet");
  CHECK(megatron.figures[0].value == FigureValue(0x1p30));
  CHECK(read(R"({"id": "m", "kind": "analytic_reference", "source": {"paper": "P"})" + rest)
            .refused == "a formula's figure, not a measurement");
}

TEST_CASE("malformed records are errors") {
  CHECK_THROWS_AS(read(R"({"id": "m", "source": [], "measured": {}})"), Error);
  CHECK_THROWS_AS(read(litgpt(R"(, "micro_batch": "two")")), Error);
}

}  // namespace
}  // namespace memplan
