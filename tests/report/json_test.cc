// The keys that scripts rely on, and their types.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "../report/reports.h"

namespace memplan {
namespace {

using Json = nlohmann::json;

Json parsed(const Plan& plan) { return Json::parse(render_json(report_of(plan))); }

std::vector<std::string> keys(const Json& object) {
  std::vector<std::string> out;
  for (const auto& [key, value] : object.items()) out.push_back(key);
  return out;
}

void check_keys(const Json& object, const std::vector<std::string>& wanted) {
  for (const std::string& key : wanted) {
    CAPTURE(key);
    CHECK(object.contains(key));
  }
}

Job pipeline_job() {
  Job job = on(small_job(4), 8, 2, 2, 4);
  job.strategy.zero = 1;
  return job;
}

TEST_CASE("the report has every key of the contract") {
  const Json json = parsed(fit(pipeline_job()));
  check_keys(json, {"schema_version", "memplan_version", "request", "verdict", "parameters",
                    "trainable", "ranks", "communication", "step", "limits", "assumptions",
                    "not_modelled", "warnings", "suggestions"});
  CHECK(json["schema_version"] == 1);
  check_keys(json["verdict"],
             {"fits", "capacity_bytes", "device_bytes", "headroom_bytes", "worst_rank", "risk"});
  check_keys(json["verdict"]["device_bytes"], {"low", "expected", "high"});
  REQUIRE(json["ranks"].size() == 2);
  for (const Json& rank : json["ranks"]) {
    check_keys(rank,
               {"rank", "pipeline_stage", "count", "memory", "peak", "phases", "host", "states"});
    CHECK(keys(rank["memory"]).size() == 12);
    check_keys(rank["memory"],
               {"weights", "gradients", "optimizer", "activations", "transient", "buffers",
                "allocated", "reserved", "context", "libraries", "nccl", "device"});
    check_keys(rank["peak"], {"phase", "operator"});
    check_keys(rank["host"], {"pinned", "pageable", "nvme"});
    check_keys(rank["states"], {"parameters", "trainable", "weights", "gradients", "optimizer"});
    CHECK(rank["phases"].size() >= 2);
    for (const Json& phase : rank["phases"])
      check_keys(phase, {"phase", "allocated", "reserved", "device"});
    for (const auto& [key, value] : rank["memory"].items()) CHECK(value.is_number_integer());
  }
  REQUIRE(!json["communication"].empty());
  for (const Json& row : json["communication"])
    check_keys(row, {"group", "collective", "algorithm", "phase", "count", "bytes",
                     "bytes_sent_per_gpu", "what", "ranks", "crosses_nodes"});
  check_keys(json["step"], {"seconds", "compute_seconds", "exposed_communication_seconds",
                            "bubble_fraction", "flops", "mfu"});
  for (const char* key : {"seconds", "compute_seconds", "exposed_communication_seconds", "mfu"})
    CHECK(json["step"][key].is_null());
  check_keys(json["limits"], {"micro_batch", "sequence", "gpus"});
}

TEST_CASE("the worst rank is told by its number, as ranks[] counts") {
  Plan plan = hand_made();
  plan.ranks.push_back(plan.ranks[0]);
  plan.ranks[1].rank = 6;
  plan.verdict.worst_rank = 1;
  CHECK(parsed(plan)["verdict"]["worst_rank"] == 6);
}

TEST_CASE("what is not told is null, never left out") {
  Plan plan = hand_made();
  plan.verdict.fits.reset();
  const Json json = parsed(plan);
  CHECK(json["verdict"]["fits"].is_null());
  CHECK(json["limits"]["gpus"].is_null());
  CHECK(json["request"]["network"].is_null());
  CHECK(json["request"]["peft"].is_null());
  CHECK(json["request"]["profile"].is_null());
}

TEST_CASE("figures are those of the plan") {
  const Json json = parsed(hand_made());
  CHECK(json["verdict"]["headroom_bytes"] == (kGiB * 2).count());
  CHECK(json["verdict"]["risk"] == "fits");
  CHECK(json["ranks"][0]["memory"]["device"] == (kGiB * 8).count());
  CHECK(json["ranks"][0]["lines"][0]["formula"] == "a × b");
  CHECK_FALSE(json["ranks"][0]["lines"][1].contains("formula"));
  CHECK(json["parameters"] == 1'234'567);
}

TEST_CASE("the request spells out the PEFT method") {
  Plan plan = hand_made();
  PeftSpec& peft = plan.job.strategy.peft;
  peft.kind = PeftKind::lora;
  peft.targets = {"q_proj"};
  peft.rank_pattern = {{"k_proj", 4}};
  const Json json = parsed(plan)["request"]["peft"];
  CHECK(json["kind"] == "lora");
  CHECK(json["targets"] == Json::array({"q_proj"}));
  CHECK(json["rank_pattern"]["k_proj"] == 4);
}

TEST_CASE("a list is a document of reports; a refused job says why") {
  Report report = report_of(hand_made());
  report.varied = {"--tp"};
  report.answers[0].values = {"1"};
  report.answers.push_back({{"3"}, {}, "--tp: no", 2, {}});
  const Json json = Json::parse(render_json(report));
  REQUIRE(json["reports"].size() == 2);
  CHECK(json["schema_version"] == 1);
  CHECK(json["reports"][0]["varied"]["--tp"] == "1");
  CHECK(json["reports"][0]["verdict"]["fits"] == true);
  CHECK(json["reports"][1]["error"]["message"] == "--tp: no");
  CHECK(json["reports"][1]["error"]["exit_code"] == 2);
}

TEST_CASE("a path that is not UTF-8 still gives JSON") {
  Plan plan = hand_made();
  plan.job.model.name = "m\xff\x01";
  CHECK(parsed(plan)["request"]["model"].is_string());
}

TEST_CASE("origins are told where they are asked for") {
  Report report = report_of(hand_made());
  report.answers[0].origins = {{"tp", "command line"}};
  CHECK_FALSE(Json::parse(render_json(report)).contains("origins"));
  report.answers[0].plan->job.explain = true;
  CHECK(Json::parse(render_json(report))["origins"]["tp"] == "command line");
}

}  // namespace
}  // namespace memplan
