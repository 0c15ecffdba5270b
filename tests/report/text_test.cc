#include <doctest/doctest.h>

#include "../report/reports.h"
#include "report/table.h"

namespace memplan {
namespace {

std::string text(const Plan& plan, bool color = false) { return render_text(plan, {color, 100}); }

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

TEST_CASE("the verdict stands first, with the figures it rests on") {
  const std::string out = text(hand_made());
  CHECK(
      out.starts_with("small-gpt on 1 × h100-80g: fits\n"
                      "8.00 GiB of 10.00 GiB on the GPU (between 7.00 GiB and 9.00 GiB)\n"));
  CHECK(has(out, "1.23M parameters"));
}

TEST_CASE("each verdict has its words and its colour") {
  Plan plan = hand_made();
  CHECK(has(text(plan, true), "\033[32msmall-gpt on 1 × h100-80g: fits\033[0m"));
  plan.verdict.risk = Risk::tight;
  CHECK(has(text(plan, true), "\033[33msmall-gpt on 1 × h100-80g: fits, but tightly\033[0m"));
  plan.verdict.risk = Risk::does_not_fit;
  plan.verdict.fits = false;
  plan.verdict.capacity = kGiB * 5;
  const std::string out = text(plan, true);
  CHECK(has(out, "\033[31msmall-gpt on 1 × h100-80g: does not fit\033[0m"));
  CHECK(has(out, "3.00 GiB too much\nwhy\n"));
  plan = hand_made();
  plan.verdict.fits.reset();
  CHECK(has(text(plan, true), "\033[33msmall-gpt on 1 × h100-80g: cannot be told"));
  plan.job.model.bare_parameters = 5;
  CHECK(has(text(plan), "the states alone fit"));
}

TEST_CASE("without colour there is no escape") {
  CHECK_FALSE(has(text(fit(on(small_job(), 8))), "\033"));
}

TEST_CASE("lines of zeros are left out, totals stay") {
  const std::string out = text(hand_made());
  CHECK(has(out, "  weights"));
  CHECK(has(out, "allocated = reserved"));
  CHECK_FALSE(has(out, "gradients"));
  CHECK_FALSE(has(out, "NCCL"));
  CHECK_FALSE(has(out, "NVMe"));
}

TEST_CASE("reserved has its own line where it differs") {
  Plan plan = hand_made();
  plan.ranks[0].memory.reserved += kMiB;
  CHECK(has(text(plan), "\nallocated  "));
  CHECK(has(text(plan), "\nreserved  "));
}

TEST_CASE("ranks that hold the same share a column; many kinds are cut") {
  Job job = on(small_job(8), 8, 1, 8, 8);
  job.cluster.gpu.memory = kMiB;
  const std::string out = text(predict(job));
  CHECK(has(out, "stage 0"));
  CHECK(has(out, "stage 7"));
  CHECK(has(out, "worst"));
  CHECK(has(out, "more kinds of ranks"));

  Plan plan = hand_made();
  plan.job.strategy.pp = 4;
  for (int64_t stage = 1; stage < 4; ++stage) {
    plan.ranks.push_back(plan.ranks[0]);
    plan.ranks.back().pipeline_stage = stage;
    plan.ranks.back().role = "stage";
  }
  CHECK(has(text(plan), "stages 0-3"));
}

TEST_CASE("traffic of one collective and phase is one row") {
  Plan plan = hand_made();
  const Traffic row = {"data_parallel", "all_gather", "ring", "forward", "layer", 8, 4,
                       kMiB * 2,        kMiB * 7,     true};
  plan.communication = {row, row};
  plan.communication[1].bytes = kMiB * 3;
  const std::string out = text(plan);
  CHECK(has(out, "data × 8 *"));
  CHECK(has(out, "8  ≤ 3.00 MiB  14.00 MiB"));
  CHECK(has(out, "* over the network between nodes"));
}

TEST_CASE("many kinds of traffic: the largest stand alone, the rest together") {
  Plan plan = hand_made();
  for (int i = 1; i <= 9; ++i) {
    Traffic row = {"tensor_parallel", "all_reduce", "ring", "forward", "layer", 2, 1, kMiB,
                   kMiB * i,          false};
    row.ranks = i + 1;
    plan.communication.push_back(row);
  }
  const std::string out = text(plan);
  CHECK(has(out, "tensor × 10"));
  CHECK_FALSE(has(out, "tensor × 4 "));
  CHECK(has(out, "… and 3 smaller"));
  CHECK(has(out, "6.00 MiB\n"));   // 1 + 2 + 3
  CHECK(has(out, "45.00 MiB\n"));  // all
}

TEST_CASE("limits, suggestions and notes") {
  Plan plan = hand_made();
  plan.limits = {4, 2048, 1, {}};
  plan.suggestions = {{"--zero 1", "more traffic", kGiB * 6}};
  plan.warnings = {"mind this"};
  plan.assumptions = {"a", "b"};
  plan.not_modelled = {"c"};
  const std::string out = text(plan);
  CHECK(has(out, "Limits  micro-batch 4, sequence 2,048, 1 GPU at least"));
  CHECK(has(out, "  --zero 1  6.00 GiB  more traffic\n"));
  CHECK(has(out, "Warning  mind this\nAssumed  a; b\nLeft out  c\n"));
  plan.suggestions[0].change = "--recompute full --micro-batch 1 --offload optimizer=cpu";
  CHECK(has(text(plan), "cpu\n      6.00 GiB: more traffic\n"));
}

TEST_CASE("a name cannot steer the terminal") {
  Plan plan = hand_made();
  plan.job.model.name = "\x1b[2Jmodel";
  CHECK_FALSE(has(text(plan), "\x1b"));
}

TEST_CASE("one screen: at most 100 columns") {
  Job job = on(small_job(8), 16, 2, 4, 8);
  job.strategy.sequence_parallel = true;
  job.cluster.gpus_per_node = 2;
  job.cluster.gpu.memory = kMiB * 200;
  CHECK(widest_line(text(fit(job))) <= 100);
  CHECK(widest_line(text(fit(on(small_job(), 8)))) <= 100);
  job.explain = true;
  Answer answer;
  answer.plan = fit(job);
  CHECK(widest_line(render_explanation(answer, {})) <= 100);
}

}  // namespace
}  // namespace memplan
