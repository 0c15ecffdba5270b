// What somebody measured of a job, to be held against what memplan says of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "memplan/job.h"

namespace memplan {

/// A count or bytes; bytes that were published rounded; an operator's name.
using FigureValue = std::variant<int64_t, double, std::string>;

struct Measurement {
  std::string figure;  ///< "peak.forward", "allocated"
  FigureValue value;
  std::string refused = {};  ///< why memplan has no such figure, where it has none
};

/// Which of memplan's answers the figures are held against.
enum class Truth : uint8_t {
  eager_step,  ///< live tensors as requested: traces
  plan,        ///< what `fit` answers: figures of the allocator and the device
};

struct MeasuredCase {
  std::string id;
  std::string source;  ///< cases of one source make one row of the error table
  Truth truth = Truth::plan;
  std::vector<Measurement> figures;
  std::optional<Job> job;
  std::string refused;  ///< why there is no job: "parallel kind 'tp' is not modelled"
  std::string where;    ///< "traces.jsonl:12"
};

}  // namespace memplan
