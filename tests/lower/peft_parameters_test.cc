// Trained and total parameters of every PEFT method: against peft itself on small models
// (reference/peft_parameters.jsonl) and against published runs (reference/published.jsonl).
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "input/hf_config.h"
#include "input/peft_config.h"
#include "lower/program.h"
#include "memplan/error.h"

using namespace memplan;
using nlohmann::json;

namespace {

struct Counts {
  int64_t total = 0, trainable = 0, fp32 = 0, buffers = 0;
};

Counts count(const Job& job) {
  Counts out;
  const Program program = lower(job, 1);
  for (const StageProgram& stage : program.stages)
    for (const Run& run : stage.runs) {
      const Graph& g = program.blocks[static_cast<size_t>(run.block)].graph;
      for (const Param& p : g.params) {
        out.total += p.elements() * run.count;
        if (p.trainable) out.trainable += p.elements() * run.count;
        if (p.dtype == DType::f32) out.fp32 += p.elements() * run.count;
      }
      for (const Param& p : g.buffers) out.buffers += p.elements() * run.count;
    }
  return out;
}

Job job_of(ModelSpec model, PeftSpec peft, std::string_view precision) {
  Job job;
  job.strategy.precision = parse_precision(precision, "--precision");
  job.model = std::move(model);
  job.strategy.sequence = 4;
  job.strategy.peft = std::move(peft);
  fill_default_targets(job.strategy.peft, job.model.family);
  return job;
}

std::vector<json> lines(const std::string& name) {
  std::ifstream in(MEMPLAN_SOURCE_DIR "/tests/reference/" + name);
  std::vector<json> all;
  for (std::string line; std::getline(in, line);) all.push_back(json::parse(line));
  REQUIRE(!all.empty());
  return all;
}

ModelSpec preset(const std::string& name) {
  const std::string file = MEMPLAN_SOURCE_DIR "/models/" + name + ".json";
  std::ifstream in(file);
  return read_hf_config(std::string(std::istreambuf_iterator<char>(in), {}), file);
}

}  // namespace

TEST_CASE("small models: peft's own counts") {
  for (const json& line : lines("peft_parameters.jsonl")) {
    const std::string id = line.at("id");
    CAPTURE(id);
    CAPTURE(line.at("adapter").dump());
    try {
      const PeftSpec peft = parse_peft_config(line.at("adapter").dump(), id);
      const std::string_view precision = line.contains("fp32") ? "bf16" : "fp32";
      const ModelSpec model = read_hf_config(line.at("config").dump(), id);
      const Counts ours = count(job_of(model, peft, precision));
      CHECK(ours.total == line.at("total").get<int64_t>());
      CHECK(ours.trainable == line.at("trainable").get<int64_t>());
      if (line.contains("fp32")) CHECK(ours.fp32 == line.at("fp32").get<int64_t>());
      if (peft.kind != PeftKind::osf) CHECK(ours.buffers == line.at("buffers").get<int64_t>());
    } catch (const Error& error) {
      FAIL_CHECK(error.what());
    }
  }
}

TEST_CASE("published runs of Llama 3.2 3B with peft") {
  int rows = 0;
  for (const json& line : lines("published.jsonl")) {
    const std::string id = line.at("id");
    if (!id.starts_with("peft-mm-") || !line.contains("peft") || line.at("peft").is_null())
      continue;
    CAPTURE(id);
    try {
      PeftSpec peft = parse_peft_config(line.at("peft").dump(), id);
      if (line.at("optimizer") == "lora-fa") peft.number(PeftNumber::frozen_a) = 1;
      peft.version = {0, 19, 0};  // of these rows
      const Counts ours = count(job_of(preset("llama3.2-3b"), peft, "bf16"));
      CHECK(ours.trainable == line.at("measured").at("trainable_params").get<int64_t>());
      CHECK(ours.total == line.at("measured").at("total_params").get<int64_t>());
    } catch (const Error& error) {
      FAIL_CHECK(error.what());
    }
    ++rows;
  }
  CHECK(rows >= 30);
}

TEST_CASE("litgpt's adapters, as its resource tables count them") {
  const auto trained = [](const char* model, const char* option) {
    return count(job_of(preset(model), parse_peft(option), "fp32")).trainable;
  };
  CHECK(trained("llama2-7b", "litgpt-lora") == 4194304);
  CHECK(trained("llama2-7b", "litgpt-adapter") == 1229760);
  CHECK(trained("llama2-7b", "litgpt-adapter-v2") == 4279744);
  CHECK(trained("llama2-13b", "litgpt-lora") == 6553600);
}
