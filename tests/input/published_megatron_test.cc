#include "input/published_megatron.h"

#include <doctest/doctest.h>

#include <string>

#include "input/published_case.h"

namespace memplan {
namespace {

// Of a record of Megatron-LM's tests: a GPT with everything that its arguments leave open.
std::string record(const std::string& container) {
  return R"({"id": "r", "kind": "memory+steptime", "source": {"repo": "NVIDIA/Megatron-LM",
    "file": "tests/functional_tests/test_cases/gpt/g/golden_values_dev_dgx_h100.json"},
    "framework": "megatron-core", "framework_version": "0.18.0", "gpu": "H100-SXM5-80GB",
    "n_gpus": 8, "model": {"name": "gpt/g", "vocab_raw": 50257}, "precision": "bf16",
    "training_script": "pretrain_gpt.py", "environment": "dev", "container": )" +
         container +
         R"(, "args": {"--num-layers": 2, "--hidden-size": 512, "--num-attention-heads": 8,
    "--seq-length": 1024, "--max-position-embeddings": 1024, "--micro-batch-size": 4,
    "--global-batch-size": 32, "--bf16": true, "--transformer-impl": "transformer_engine"},
    "measured": {"peak_allocated_gib": 1.5, "allocated_after_step_gib": 1.0}})";
}

Version torch_of(const std::string& container) {
  const JsonDocument document(record(container), "p.jsonl:1");
  REQUIRE(is_published(document.root()));
  const MeasuredCase one = read_published(document.root());
  REQUIRE_MESSAGE(one.job, one.refused);
  return one.job->strategy.torch;
}

TEST_CASE("the torch of a record is its image's, and the lock file's where no image is named") {
  const std::string lock = R"x("torch(uv.lock)": "2.9.1")x";
  CHECK(torch_of("{" + lock + "}") == Version{2, 9, 1});
  CHECK(torch_of(R"({"dev": "nvcr.io/nvidia/pytorch:26.04-py3", )" + lock + "}") ==
        Version{2, 12, 0});
  CHECK(torch_of(R"({"lts": "nvcr.io/nvidia/pytorch:26.04-py3", )" + lock + "}") ==
        Version{2, 9, 1});
  CHECK(torch_of(R"({"dev": "nvcr.io/nvidia/pytorch:19.01-py3", )" + lock + "}") ==
        Version{2, 9, 1});
}

// Before NVIDIA/Megatron-LM 0044db1f20 Muon's layer-wise optimizer had no layout of its own.
TEST_CASE("a record's Muon is that of its day") {
  const auto precomputed = [](const std::string& date, const std::string& optimizer) {
    std::string text = record("{}");
    const auto put = [&](const std::string& before, const std::string& more) {
      text.insert(text.find(before), more);
    };
    put(R"("file": "tests)", R"("date": ")" + date + R"(", )");
    put(R"("--bf16": true)", R"("--optimizer": ")" + optimizer + R"(", )");
    const JsonDocument document(text, "p.jsonl:1");
    const MeasuredCase one = read_published(document.root());
    REQUIRE_MESSAGE(one.job, one.refused);
    CHECK(one.job->strategy.zero == (optimizer == "dist_muon" ? 1 : 0));
    return one.job->strategy.megatron.muon.precomputed_layout;
  };
  CHECK_FALSE(precomputed("2026-05-20", "dist_muon"));
  CHECK(precomputed("2026-05-21", "dist_muon"));
  CHECK_FALSE(precomputed("2026-05-07", "muon"));
}

}  // namespace
}  // namespace memplan
