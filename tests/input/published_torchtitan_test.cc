#include "input/published_torchtitan.h"

#include <doctest/doctest.h>

#include <string>

#include "input/json.h"
#include "memplan/error.h"

namespace memplan {
namespace {

std::string record(const std::string& flags, const std::string& framework, const std::string& cp) {
  return R"({"source": {"url": "https://github.com/pytorch/torchtitan/pull/165"}, "framework": ")" +
         framework +
         R"(", "n_gpus": 8, "model": {"name": "llama2 7B", "layers": 2, "hidden": 64, "heads": 4,
             "kv_heads": 4, "ffn": 176, "vocab": 320, "tied_embeddings": false, "seq": 128},
             "parallelism": {"tp": 1, "pp": 1, "cp": )" +
         cp + R"(}, "micro_batch": 8, "precision": "bf16 mixed, fp32 reduce-scatter",
             "recompute": "selective op", "flags": )" +
         flags + "}";
}

Job read(const std::string& flags, const std::string& framework, const std::string& cp = "1") {
  const JsonDocument document(record(flags, framework, cp), "record");
  return read_torchtitan_record(document.root());
}

TEST_CASE("a pull request's record is torchtitan of its time") {
  const Job job = read("{}", "fsdp2-torchtitan");
  const Strategy& s = job.strategy;
  CHECK(s.framework == Framework::torchtitan);
  CHECK(s.torchtitan == Version{0, 0, 1});
  CHECK(s.recompute == Recompute::selective);
  CHECK(s.dp == 8);
  CHECK(s.global_batch == 64);
  CHECK(s.fsdp.param_dtype == DType::bf16);
  CHECK(s.fsdp.root_after_forward == 1);
}

TEST_CASE("its rows of FSDP1 keep torchtitan's modules") {
  const Job job = read("{}", "fsdp1");
  CHECK(job.strategy.framework == Framework::fsdp1);
  CHECK(job.strategy.fsdp.use_orig_params);
  CHECK(job.model.implementation == Implementation::torchtitan);
}

TEST_CASE("what of torchtitan is not modelled is refused") {
  CHECK_THROWS_WITH_AS(read(R"({"compile": true})", "fsdp1"), doctest::Contains("torch.compile"),
                       Error);
  CHECK_THROWS_WITH_AS(read("{}", "fsdp2-torchtitan", "2"), doctest::Contains("cp of torchtitan"),
                       Error);
}

}  // namespace
}  // namespace memplan
