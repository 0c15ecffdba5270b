// The memory of each kind of rank, side by side.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "memplan/plan.h"
#include "report/report.h"
#include "report/table.h"

namespace memplan {

/// A line of the memory table, and its key in JSON.
struct MemoryLine {
  std::string_view label, key;
  Bytes RankMemory::*bytes;
  bool total;  ///< of the lines above it
};
std::span<const MemoryLine> memory_lines();

/// Ranks that hold the same to the byte, as one.
struct RankKind {
  const RankPlan* first = nullptr;
  int64_t count = 0;
  std::vector<int64_t> stages;
  bool worst = false;
};
std::vector<RankKind> rank_kinds(const Plan& plan);

/// "GPU 0 of DataParallel", "stages 1-6", "each of 8 GPUs".
std::string kind_title(const RankKind& kind, const Plan& plan);

std::string memory_table(const Plan& plan, const TextStyle& style);

/// green, yellow or red.
Ink ink_of(const Verdict& verdict);

}  // namespace memplan
