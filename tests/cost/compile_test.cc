// torch.compile's interval against the list of AOTAutograd's min-cut partitioner itself
// (tests/reference/trace_compile.py and compile_saved.jsonl).
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "cost/eager.h"
#include "input/hf_config.h"

namespace memplan {
namespace {

using nlohmann::json;

Job job_of(const json& given) {
  Job job;
  const std::string text = given["config"].dump();
  job.model = read_hf_config(text, "config.json");
  job.model.dropout = {};
  job.backend = Backend::cpu;
  Strategy& s = job.strategy;
  s.framework = Framework::huggingface;
  s.compile = true;
  s.precision = parse_precision(given["weights"] == "float32" ? "fp32" : "bf16", "weights");
  s.attention = given["attention"] == "eager" ? AttentionKind::unfused : AttentionKind::sdpa;
  s.micro_batch = s.global_batch = given["batch"];
  s.sequence = given["seq"];
  return job;
}

TEST_CASE("what the partitioner keeps lies between kernels' operands and eager execution") {
  std::ifstream file(std::string(MEMPLAN_SOURCE_DIR) + "/tests/reference/compile_saved.jsonl");
  REQUIRE(file);
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const json row = json::parse(line);
    CAPTURE(row["id"].get<std::string>());
    const EagerStep step = eager_step(job_of(row["case"]));
    const int64_t saved = row["saved"];
    CHECK(step.operands.count() <= saved);
    CHECK(saved <= step.activations.count());
  }
  CHECK(cases >= 8);
}

}  // namespace
}  // namespace memplan
