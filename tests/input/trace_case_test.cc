#include "input/trace_case.h"

#include <doctest/doctest.h>

namespace memplan {
namespace {

// A result with the members of `given` in its case.
std::string line_of(const std::string& given, const std::string& mode = "fake",
                    const std::string& more = "") {
  return R"({"id": "x", "mode": ")" + mode + R"(", "torch": "2.9.1+cu130", "case": {"config":
    {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 16})" +
         (given.empty() ? "" : ", " + given) + R"(}, "transformers": "5.12.1",
    "parameters": 10, "trainable": 9, "categories": {"optimizer": 8, "activations": 7},
    "peak": {"forward": 1, "backward": 2, "step": 3},
    "peak_at": {"forward": "f", "backward": "b", "step": "s"})" +
         more + "}";
}

MeasuredCase read(const std::string& text) {
  const JsonDocument document(text, "t.jsonl:1");
  REQUIRE(is_trace(document.root()));
  return read_trace(document.root());
}

Strategy strategy_of(const std::string& given) {
  const MeasuredCase one = read(line_of(given));
  REQUIRE_MESSAGE(one.job, one.refused);
  return one.job->strategy;
}

std::string refusal_of(const std::string& given) {
  const MeasuredCase one = read(line_of(given));
  CHECK_FALSE(one.job);
  return one.refused;
}

TEST_CASE("what a case leaves out is the tracer's default") {
  const MeasuredCase one = read(line_of(""));
  REQUIRE(one.job);
  const Strategy& s = one.job->strategy;
  CHECK(s.framework == Framework::huggingface);
  CHECK(s.micro_batch == 1);
  CHECK(s.sequence == 512);
  CHECK(s.precision.name == "bf16");
  CHECK(s.attention == AttentionKind::sdpa);
  CHECK(s.optimizer == OptimizerKind::adamw);
  CHECK(s.optimizer_impl == OptimizerImpl::foreach_);
  CHECK(s.keep_outputs);
  CHECK(s.torch == Version{2, 9, 1});
  CHECK(one.job->backend == Backend::cpu);
  CHECK(one.job->model.dropout.hidden > 0);
  CHECK(one.source == "trace fake");
}

TEST_CASE("every key reaches the job") {
  const Strategy s = strategy_of(
      R"("batch": 3, "seq": 64, "weights": "float32", "autocast": "bfloat16", "attention": "eager",
      "checkpoint": true, "padding_mask": true, "keep_outputs": false, "clip": true,
      "micro_batches": 2, "optimizer": {"name": "sgd_momentum", "impl": "forloop"})");
  CHECK(s.micro_batch == 3);
  CHECK(s.sequence == 64);
  CHECK(s.precision.name == "amp-bf16");
  CHECK(s.attention == AttentionKind::unfused);
  CHECK(s.recompute == Recompute::full);
  CHECK(s.padding_mask);
  CHECK_FALSE(s.keep_outputs);
  CHECK(s.clip_gradients);
  CHECK(s.micro_batches() == 2);
  CHECK(s.optimizer == OptimizerKind::sgd_momentum);
  CHECK(s.optimizer_impl == OptimizerImpl::forloop);
}

TEST_CASE("dropout false empties the model's probabilities") {
  const MeasuredCase one = read(line_of(R"("dropout": false)"));
  REQUIRE(one.job);
  CHECK(one.job->model.dropout.hidden == 0);
  CHECK(one.job->model.dropout.attention == 0);
}

TEST_CASE("16-bit weights under autocast keep their own dtype") {
  const Strategy s = strategy_of(R"("weights": "bfloat16", "autocast": "float16")");
  CHECK(s.precision.weight == DType::bf16);
  CHECK(s.precision.autocast == DType::f16);
  CHECK_FALSE(s.precision.master);
}

TEST_CASE("DDP has replicas and its own buckets") {
  const Strategy s =
      strategy_of(R"("parallel": {"kind": "ddp", "bucket_view": true, "bucket_mb": 1})");
  CHECK(s.dp > 1);
  CHECK(s.micro_batches() == 1);
  CHECK(s.gradient_as_bucket_view);
  CHECK(s.bucket_bytes == kMiB.count());
}

TEST_CASE("LoRA's arguments") {
  const Strategy s =
      strategy_of(R"("peft": {"r": 4, "lora_alpha": 8, "target_modules": ["c_attn"]})");
  CHECK(s.peft.kind == PeftKind::lora);
  CHECK(s.peft.rank == 4);
}

TEST_CASE("quantized weights, and a part of the model trained") {
  const Quantization q =
      strategy_of(R"("quantization": {"kind": "nf4", "double_quant": true})").quantization;
  CHECK(q.double_quant);
  CHECK_FALSE(q.prepared);
  CHECK(q.compute == DType::bf16);  // the tracer's: that of the weights
  const Quantization other =
      strategy_of(R"("quantization": {"kind": "fp4", "prepare": true, "compute": "float32"})")
          .quantization;
  CHECK(other.prepared);
  CHECK(other.compute == DType::f32);
  CHECK(strategy_of(R"("trainable": {"kind": "last_layers", "layers": 1})").trainable.layers == 1);
}

TEST_CASE("what memplan has not is refused by name, not ignored") {
  CHECK(refusal_of(R"("parallel": {"kind": "fsdp2_tp", "world": 4})") ==
        "parallel kind 'fsdp2_tp' is not modelled");
  CHECK(refusal_of(R"("bath": 2)") == "the key 'bath' is not known");
  CHECK(refusal_of(R"("optimizer": {"name": "shampoo"})") == "optimizer 'shampoo' is not modelled");
  CHECK(refusal_of(R"("parallel": {"kind": "ddp", "world": 4})") == "the key 'world' is not known");
}

TEST_CASE("malformed lines are errors with file and pointer") {
  const auto fails = [](const std::string& text, std::string_view where) {
    try {
      read(text);
      FAIL_CHECK("no error: " << text);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::bad_input);
      CHECK(error.where() == where);
    }
  };
  fails(line_of(R"("batch": 0)"), "t.jsonl:1: /case/batch");
  fails(line_of(R"("weights": "bf17")"), "t.jsonl:1: /case/weights");
  fails(line_of("", "gpu"), "t.jsonl:1: /mode");
  fails(R"({"id": "x", "mode": "fake", "case": {}})", "t.jsonl:1: /parameters");
}

TEST_CASE("figures of a GPU are those of fit") {
  const std::string cuda = R"(, "cuda": {"allocated": 5, "reserved": 8, "outside_allocator": 2})";
  const MeasuredCase one = read(line_of("", "cuda", cuda));
  REQUIRE(one.job);
  CHECK(one.job->backend == Backend::cuda);
  CHECK(one.figures.back().figure == "cuda.device");
  CHECK(one.figures.back().value == FigureValue(int64_t{10}));
  CHECK(one.figures.back().answered == Answered::by_plan);
  CHECK(one.figures.front().answered == Answered::by_step);
}

TEST_CASE("the GPU is the one the driver names") {
  const auto gpu = [](std::string_view device) {
    const std::string cuda = R"(, "cuda": {"allocated": 5, "reserved": 8, "outside_allocator": 2, )"
                             R"("device_total": 1000, "device": ")" +
                             std::string(device) + "\"}";
    return read(line_of("", "cuda", cuda)).job->cluster.gpu;
  };
  CHECK(gpu("NVIDIA H100 80GB HBM3").name == "h100-80g");
  CHECK(gpu("NVIDIA A100-SXM4-80GB").name == "a100-80g");
  CHECK(gpu("NVIDIA GeForce RTX 4090").name == "rtx-4090");
  CHECK(gpu("Quadro P400").memory == Bytes(1000));
}

TEST_CASE("a step that ran out of memory measured nothing") {
  const MeasuredCase one =
      read(R"({"id": "x", "mode": "cuda", "case": {}, "cuda": {"oom": true}})");
  CHECK_FALSE(one.refused.empty());
  CHECK_FALSE(one.job);
}

}  // namespace
}  // namespace memplan
