// Plans for tests of the formats.
#pragma once

#include "../cost/jobs.h"
#include "report/report.h"

namespace memplan {

inline Report report_of(Plan plan) {
  Report report;
  report.answers.push_back({{}, std::move(plan), {}, 0, {}});
  return report;
}

/// A plan filled by hand: a GPU of 10 GiB that holds 4 + 3 + 1 GiB.
inline Plan hand_made() {
  Plan plan;
  plan.job = small_job();
  plan.parameters = plan.trainable = 1'234'567;
  RankPlan rank;
  rank.memory.weights = rank.states.weights = kGiB * 4;
  rank.memory.activations = kGiB * 3;
  rank.memory.allocated = rank.memory.reserved = kGiB * 7;
  rank.memory.context = kGiB;
  rank.memory.device = kGiB * 8;
  rank.peak_phase = "forward";
  rank.peak_operator = "loss";
  rank.lines = {{Holder::weights, "weights", kGiB * 4, "a × b", "a paper"},
                {Holder::activations, "activations", kGiB * 3, "", "another paper"}};
  rank.outside = {{Holder::buffers, "context", kGiB, "", "a measurement"}};
  plan.ranks = {rank};
  plan.verdict = {true, Risk::fits, kGiB * 10, kGiB * 7, kGiB * 8, kGiB * 9, 0, "why"};
  return plan;
}

}  // namespace memplan
