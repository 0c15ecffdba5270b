#include "job/multiprocessors.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "memplan/error.h"

namespace memplan {
namespace {

// Architecture white papers; those of the A10G, L4, H20 and of Blackwell's data-centre parts are
// torch device properties (multi_processor_count). A product has its row under the shortest
// beginning of the preset's name that tells it apart, longer ones first.
struct Row {
  std::string_view begins;
  int count;
};
constexpr auto kRows = std::to_array<Row>({
    {"v100", 80},  {"t4", 40},        {"a100", 108},         {"a800", 108},          {"a10g", 80},
    {"a10", 72},   {"a40", 84},       {"rtx-a6000", 84},     {"rtx-3090", 82},       {"l40s", 142},
    {"l4", 58},    {"rtx-4090", 128}, {"rtx-6000-ada", 142}, {"h100-80g-pcie", 114}, {"h100", 132},
    {"h200", 132}, {"h800", 132},     {"h20", 78},           {"gh200", 132},         {"b200", 148},
    {"b300", 148}, {"gb200", 152},    {"gb300", 152},        {"rtx-5090", 170},
});

}  // namespace

int64_t multiprocessors(const GpuSpec& gpu) {
  const auto row = std::ranges::find_if(
      kRows, [&](const Row& r) { return std::string_view(gpu.name).starts_with(r.begins); });
  if (row != kRows.end()) return row->count;
  throw Error(ErrorKind::not_modelled, "--gpu",
              "the number of multiprocessors of '" + gpu.name + "' is not known",
              "name a GPU of `memplan show gpus`, such as h100-80g");
}

}  // namespace memplan
